"""What recall costs: latency over recall for every setting that was tried, and the Pareto front over all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nightgate.publish.charts.names import Name, write_names
from nightgate.publish.charts.page import COLOURS, NEAR, drawing, log_axis, series_colour, svg
from nightgate.publish.figures import human

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes

Point = tuple[float, float]
"""Recall in [0, 1], and latency in seconds."""

_STRETCH = 3  # recall is drawn as 1 - (1 - recall)^(1/3): the scale "a3" of ann-benchmarks, which holds 1 itself
_TICKS = (1.0, 0.9, 0.99, 0.5, 0.95, 0.999, 0.8, 0.98, 0.0, 0.7, 0.97, 0.995, 0.85, 0.6, 0.3, 0.93, 0.96, 0.94, 0.92)
_TICK_GAP = 0.07  # of the axis; the first of `_TICKS` that are further apart are kept


@dataclass(frozen=True)
class Curve:
    """The settings that were tried with one variant, and the chosen one. ``gated`` and ``place`` as in `Series`."""

    name: str
    points: Sequence[Point]
    chosen: Point | None
    gated: bool
    place: int


def pareto_front(points: Sequence[Point]) -> list[Point]:
    """The points that no other beats, by rising recall: no other has as much recall in as little time, or better.

    Of points with equal recall only the fastest stays, of points with equal time only the one with most recall, and
    equal points count once.
    """
    front: list[Point] = []
    for point in sorted(points, key=lambda point: (-point[0], point[1])):
        if not front or point[1] < front[-1][1]:
            front.append(point)
    return front[::-1]


def tradeoff(curves: Sequence[Curve], target: float | None, limit: float | None) -> str:
    """P95 latency over recall: a line through the best settings of each variant, over the front of them all.

    Args:
        target: the recall that was aimed for.
        limit: of the 95th percentile, in seconds; drawn when it is near, else only named.
    """
    with drawing(7.6, 3.9) as figure:
        axes = figure.subplots()
        everything = [point for curve in curves for point in curve.points]
        front = {"alpha": 0.13, "linewidth": 11, "solid_capstyle": "round"}
        axes.plot(*_drawn(pareto_front(everything)).T, color=COLOURS["ink"], **front)
        for curve in sorted(curves, key=lambda curve: curve.gated):  # the gated ones on top
            colour = series_colour(curve.place)
            width = {"linewidth": 2.0} if curve.gated else {"linewidth": 1.2, "linestyle": (0, (4, 2))}
            axes.plot(*_drawn(pareto_front(curve.points)).T, color=colour, **width)
            axes.plot(*_drawn(curve.points).T, color=colour, marker="o", markersize=3, linestyle="none")
        _scale(axes, [recall for recall, _ in everything], target)
        _bound(axes, [seconds for _, seconds in everything], target, limit)
        log_axis(axes, "seconds")
        axes.set_ylabel("P95 latency")
        axes.set_xlabel("recall")
        _name(axes, curves)
        return svg(figure, "P95 latency over recall, for every setting that was tried")


def stretched(recall: Any) -> Any:
    """Where a recall stands on the axis, in [0, 1]: the nearer to 1, the more room a step takes."""
    import numpy as np

    return 1 - (1 - np.asarray(recall)) ** (1 / _STRETCH)


def ticks(left: float, right: float) -> list[float]:
    """Recalls to write below an axis from ``left`` to ``right``, both as `stretched`."""
    kept: list[float] = []
    for tick in _TICKS:
        x, gap = stretched(tick), _TICK_GAP * (right - left)
        if left <= x <= right and all(abs(x - stretched(other)) >= gap for other in kept):
            kept.append(tick)
    return sorted(kept)


def _drawn(points: Sequence[Point]) -> np.ndarray:
    """The points as they are drawn, (n, 2)."""
    import numpy as np

    recall, seconds = np.asarray(points, dtype=float).T
    return np.column_stack([stretched(recall), seconds])


def _scale(axes: Axes, recalls: Sequence[float], target: float | None) -> None:
    """The recall axis: from the least to the most recall, with the target in sight and marked."""
    ends = [float(stretched(recall)) for recall in (*recalls, *([target] if target else []))]
    room = max(0.08 * (max(ends) - min(ends)), 0.02)
    left, right = max(min(ends) - room, 0), min(max(ends) + room, 1.02)
    axes.set_xlim(left, right)
    shown = ticks(left, right)
    axes.set_xticks([float(stretched(tick)) for tick in shown], [f"{tick:g}" for tick in shown])
    if target:
        axes.axvline(ends[-1], color=COLOURS["ink"], linewidth=1.1)
        at = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points", "ha": "center"}
        axes.annotate(f"recall target {target:g}", (ends[-1], 1), (0, 4), fontsize=8.5, **at)


def _bound(axes: Axes, latencies: Sequence[float], target: float | None, limit: float | None) -> None:
    """The ends of the latency axis, and its limit: a line when it is near, else an arrow to where it is."""
    fastest, slowest = min(latencies), max(latencies)
    near = limit is not None and fastest / NEAR <= limit <= slowest * NEAR
    ends = (fastest, slowest, limit) if near else (fastest, slowest)
    axes.set_ylim(min(ends) / 1.5, max(ends) * 1.5)
    if limit is None:
        return
    note = f"P95 limit {human(limit, 'seconds', trim=True)}"
    if near:
        axes.axhline(limit, color=COLOURS["breach"], linewidth=1.3)
    else:
        note += " ↑" if limit > slowest else " ↓"
    far_side = 1 if target and stretched(target) < sum(axes.get_xlim()) / 2 else 0  # from what the target's line says
    at = {"xycoords": ("axes fraction", "data" if near else "axes fraction"), "textcoords": "offset points"}
    axes.annotate(
        note,
        (far_side, limit if near else 1),
        (0, 4),
        ha="right" if far_side else "left",
        fontsize=8.5,
        color=COLOURS["breach"],
        **at,
    )


def _name(axes: Axes, curves: Sequence[Curve]) -> None:
    """Mark what was chosen of each variant, and name it there; without a choice, at its highest recall."""
    names = []
    for curve in curves:
        colour, at = series_colour(curve.place), tuple(_drawn([curve.chosen or max(curve.points)])[0])
        if curve.chosen:
            edge = {"markersize": 9, "markeredgewidth": 1.6, "markeredgecolor": COLOURS["card"]}
            axes.plot(*at, marker="o", color=colour, zorder=4 + curve.gated, **edge)
        names.append(Name(curve.name, at, colour, curve.gated))
    write_names(axes, names)
