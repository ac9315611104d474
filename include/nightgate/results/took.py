"""How long whole runs of a suite took on this host, at each scale: a small file below NIGHTGATE_HOME, for who makes a form."""

from __future__ import annotations

import json
import logging
import statistics

from nightgate import paths
from nightgate.files import write_text
from nightgate.record import Summary

log = logging.getLogger(__name__)

_RECENT = 5
_FILE = "took.json"

Took = dict[str, dict[str, list[float]]]
"""Suite → scale → the seconds of the newest runs, oldest first."""


def remember(summary: Summary, seconds: float) -> None:
    """Add a run that did what its suite says; one with other values tells nothing of the next."""
    if summary.standing == "ad-hoc":
        return
    known = _read()
    runs = known.setdefault(summary.suite, {}).setdefault(summary.scale, [])
    runs.append(round(seconds, 1))
    del runs[:-_RECENT]
    try:
        write_text(paths.home() / _FILE, json.dumps(known))
    except OSError as error:  # a form that says nothing of time is no reason to fail a run
        log.warning("how long the run took is not kept: %s", error)


def known(suite: str) -> dict[str, float]:
    """The median seconds at each scale; a scale that never ran here is missing."""
    return {scale: statistics.median(runs) for scale, runs in _read().get(suite, {}).items() if runs}


def _read() -> Took:
    """Empty where it cannot be read: then a form says nothing of time."""
    try:
        found: Took = json.loads((paths.home_path() / _FILE).read_text())
        return {
            suite: {scale: [float(one) for one in runs] for scale, runs in scales.items()}
            for suite, scales in found.items()
        }
    except (
        OSError,
        RuntimeError,
        ValueError,
        TypeError,
        AttributeError,
    ):  # there may be no home folder of a user at all
        return {}
