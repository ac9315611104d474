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
    """``setting`` is the chosen one, ``reached`` whether it holds the target with its margin; ``curve`` is all that was
    tried, in that order, each with its ``setting`` and ``recall``."""

    setting: Any
    reached: bool
    curve: list[dict[str, Any]]

    def shortfall(self, target: float) -> str | None:
        """A sentence that says by how much ``target`` is out of reach, or None."""
        if self.reached:
            return None
        best = max(point["recall"] for point in self.curve)
        return f"no setting reaches recall {target:g} with its margin: {_said(self.setting)} comes closest, with {best:.3f}"


def cheapest(
    settings: Sequence[Any],
    measure: Callable[[Any], dict[str, Any]],
    target: float,
    margin: float = MARGIN,
    *,
    whole_curve_to: float = 0.0,
) -> Tuned:
    """Try ``settings`` from the cheapest up; the first whose recall reaches ``target`` + ``margin`` is chosen.

    The search stops there, or goes on until the recall reaches ``whole_curve_to``, for the sake of the curve. When none
    reaches the target, the one with the best recall is chosen: the measurement then shows what is missing.

    Args:
        measure: what is to be known of a setting, its ``recall`` among it.
    """
    curve, chosen = [], None
    for setting in settings:
        point = {"setting": setting, **measure(setting)}
        curve.append(point)
        log.info("tuning: %s gives recall %.3f", _said(setting), point["recall"])
        if chosen is None and point["recall"] >= target + margin:
            chosen = setting
        if chosen is not None and point["recall"] >= whole_curve_to:
            break
    if chosen is not None:
        return Tuned(chosen, True, curve)
    best = max(curve, key=lambda point: point["recall"])
    return Tuned(best["setting"], False, curve)


def _said(setting: Any) -> str:
    return (
        ", ".join(f"{name} {value}" for name, value in setting.items()) if isinstance(setting, dict) else str(setting)
    )
