"""Objectives → verdicts. Pure: a record and limits in, verdicts out."""

from nightgate.judge.verdicts import judge, night, unmet

__all__ = ["judge", "night", "unmet"]
