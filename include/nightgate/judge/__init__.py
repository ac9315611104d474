"""Objectives → verdicts. Pure: a record and limits in, verdicts out."""

from nightgate.judge.verdicts import judge, night, state_intervals, unmet, wanted

__all__ = ["judge", "night", "state_intervals", "unmet", "wanted"]
