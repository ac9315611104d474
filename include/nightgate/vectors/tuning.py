"""Find the cheapest setting that reaches a recall target, on queries that are not the measured ones."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

log = logging.getLogger(__name__)

MARGIN = 0.02
"""How far above the target a setting must be on the tuning queries, so that the measured ones reach it as well."""


@dataclass(frozen=True)
class Tuned:
    """``setting`` is the chosen one, ``reached`` whether it holds the target with `MARGIN`; ``curve`` is all that was tried."""

    setting: Any
    reached: bool
    curve: list[dict[str, Any]]


def cheapest(settings: Sequence[Any], recall: Callable[[Any], float], target: float, margin: float = MARGIN) -> Tuned:
    """Try ``settings`` from the cheapest up and stop at the first whose ``recall`` reaches ``target`` + ``margin``.

    When none does, the one with the best recall is chosen and ``reached`` is False: the measurement then shows by how
    much the target is missed.
    """
    curve = []
    for setting in settings:
        value = recall(setting)
        curve.append({"setting": setting, "recall": value})
        log.info("tuning: %s gives recall %.3f", setting, value)
        if value >= target + margin:
            return Tuned(setting, True, curve)
    best = max(curve, key=lambda point: point["recall"])
    return Tuned(best["setting"], False, curve)
