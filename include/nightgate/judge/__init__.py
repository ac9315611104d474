"""Objectives → verdicts. Pure: a record and limits in, verdicts out."""

from nightgate.judge.verdicts import failed_unjudged, judge, night, state_intervals, wanted

__all__ = ["failed_unjudged", "judge", "night", "state_intervals", "wanted"]
