"""What recall costs: latency over recall for every setting that was tried, and the Pareto front over all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nightgate.publish.charts.names import Name, write_names
from nightgate.publish.charts.page import COLOURS, NEAR, draw_curve, drawing, log_axis, series_colour, svg
from nightgate.publish.figures import human

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

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
        front = _drawn(pareto_front(everything)).T
        axes.plot(*front, color=COLOURS["ink"], alpha=0.13, linewidth=11, solid_capstyle="round")
        for curve in sorted(curves, key=lambda curve: curve.gated):  # the gated ones on top
            colour = series_colour(curve.place)
            recalls, seconds = _drawn(pareto_front(curve.points)).T
            draw_curve(axes, recalls, seconds, colour, gated=curve.gated)
            axes.plot(*_drawn(curve.points).T, color=colour, marker="o", markersize=3, linestyle="none")
        _scale(axes, [recall for recall, _ in everything], target)
        _bound(axes, [seconds for _, seconds in everything], target, limit)
        log_axis(axes, "seconds")
        axes.set_ylabel("P95 latency")
        axes.set_xlabel("recall")
        _name(figure, axes, curves)
        return svg(figure, "P95 latency over recall, for every setting that was tried")


def stretched(recall: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Where recalls stand on the axis, in [0, 1]: the nearer to 1, the more room a step takes."""
    import numpy as np

    left = 1 - np.asarray(recall, dtype=np.float64)
    return 1 - left ** (1 / _STRETCH)


def ticks(left: float, right: float) -> list[float]:
    """Recalls to write below an axis from ``left`` to ``right``, both as `stretched`."""
    kept: list[float] = []
    for tick in _TICKS:
        x, gap = stretched(tick), _TICK_GAP * (right - left)
        if left <= x <= right and all(abs(x - stretched(other)) >= gap for other in kept):
            kept.append(tick)
    return sorted(kept)


def _drawn(points: Sequence[Point]) -> npt.NDArray[np.float64]:
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
        text, coordinates = f"recall target {target:g}", ("data", "axes fraction")
        axes.annotate(text, (ends[-1], 1), (0, 4), coordinates, "offset points", ha="center", fontsize=8.5)


def _bound(axes: Axes, latencies: Sequence[float], target: float | None, limit: float | None) -> None:
    """The ends of the latency axis, and its limit: a line when it is near, else an arrow to where it is."""
    fastest, slowest = min(latencies), max(latencies)
    axes.set_ylim(fastest / 1.5, slowest * 1.5)
    if limit is None:
        return
    note, red = f"P95 limit {human(limit, 'seconds', trim=True)}", COLOURS["breach"]
    if near := fastest / NEAR <= limit <= slowest * NEAR:
        axes.set_ylim(min(fastest, limit) / 1.5, max(slowest, limit) * 1.5)
        axes.axhline(limit, color=red, linewidth=1.3)
    else:
        note += " ↑" if limit > slowest else " ↓"
    right = bool(target and stretched(target) < sum(axes.get_xlim()) / 2)  # away from what the target's line says
    at, coordinates = (int(right), limit if near else 1), ("axes fraction", "data" if near else "axes fraction")
    side = "right" if right else "left"
    axes.annotate(note, at, (0, 4), coordinates, "offset points", ha=side, fontsize=8.5, color=red)


def _name(figure: Figure, axes: Axes, curves: Sequence[Curve]) -> None:
    """Mark what was chosen of each variant, and name it there; without a choice, at its highest recall."""
    names = []
    for curve in curves:
        colour = series_colour(curve.place)
        recall, seconds = curve.chosen or max(curve.points)
        x = float(stretched(recall))
        if curve.chosen:
            (mark,) = axes.plot(x, seconds, marker="o", markersize=9, color=colour, zorder=4 + curve.gated)
            mark.set(markeredgewidth=1.6, markeredgecolor=COLOURS["card"])
        names.append(Name(curve.name, (x, seconds), colour, curve.gated))
    write_names(figure, axes, names)
