"""How the samples of each variant spread: by percentile, or repeat by repeat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nightgate.publish.charts.page import COLOURS, NEAR, draw_curve, drawing, log_axis, series_colour, svg
from nightgate.publish.figures import human

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from matplotlib.axes import Axes

_PERCENTILES = (0, 50, 90, 95, 99, 99.9)


@dataclass(frozen=True)
class Series:
    """The samples of one variant. ``gated`` ones are drawn strong, controls thin; ``place`` decides the colour."""

    name: str
    values: np.ndarray
    gated: bool
    place: int


def quantiles(series: Sequence[Series], limit: float | None) -> str:
    """Latency by percentile; the percentile axis stretches the tail, as the ``1 / (1 - p)`` of HdrHistogram plots.

    Args:
        series: samples in seconds, 1-d.
        limit: of the 95th percentile, in seconds.
    """
    import numpy as np

    with drawing(7.6, 2.9) as figure:
        axes = figure.subplots()
        most = max(len(one.values) for one in series)
        top = max(99.0, min(99.9, 100 * (1 - 1 / most)))
        percentiles = 100 * (1 - np.geomspace(1, 1 - top / 100, 240))
        ends = []
        for one in series:
            colour = series_colour(one.place)
            curve = np.percentile(one.values, percentiles)
            own = percentiles <= 100 * (1 - 1 / len(one.values))
            draw_curve(axes, _stretch(percentiles[own]), curve[own], colour, gated=one.gated)
            p95 = np.percentile(one.values, 95)
            axes.plot(_stretch(95), p95, marker="o", color=colour, markersize=5 if one.gated else 3.5)
            ends.append((float(curve[own][-1]), one.name, colour))
        shown = [p for p in _PERCENTILES if p <= top + 0.01]
        axes.set_xticks([float(_stretch(p)) for p in shown], ["fastest" if p == 0 else f"P{p:g}" for p in shown])
        if limit:
            right = float(_stretch(95))
            axes.plot([0, right], [limit, limit], color=COLOURS["breach"], linewidth=1.3)
            axes.plot([right], [limit], marker="v", color=COLOURS["breach"], markersize=6)
            note = f"P95 limit {human(limit, 'seconds', trim=True)}"
            axes.annotate(note, (0, limit), (2, 4), textcoords="offset points", color=COLOURS["breach"], fontsize=8.5)
        axes.margins(y=0.14)
        axes.set_xlim(0, float(_stretch(top)) * 1.02)
        log_axis(axes, "seconds")
        _end_labels(axes, ends)
        return svg(figure, "Latency by percentile")


def repeats(series: Sequence[Series], limit: float | None, unit: str, what: str) -> str:
    """Every repeat of every variant as a dot, with the mean."""
    with drawing(7.6, 0.75 + 0.42 * len(series)) as figure:
        axes = figure.subplots()
        rows = range(len(series) - 1, -1, -1)
        for row, one in zip(rows, series, strict=True):
            colour = series_colour(one.place)
            level = [row] * len(one.values)
            axes.plot(one.values, level, color=colour, marker="o", linestyle="none", markersize=6, alpha=0.55)
            mean = float(one.values.mean())
            axes.plot([mean, mean], [row - 0.24, row + 0.24], color=colour, linewidth=2)
        highest = max(float(one.values.max()) for one in series)
        if limit:
            note, near = f"limit {human(limit, unit, trim=True)}", limit <= NEAR * highest
            if near:
                axes.axvline(limit, color=COLOURS["breach"], linewidth=1.3)
            text, at = (note, (limit, 1)) if near else (f"{note} →", (1, 1))
            coordinates = ("data" if near else "axes fraction", "axes fraction")
            red = COLOURS["breach"]
            axes.annotate(text, at, (-4, 2), coordinates, "offset points", ha="right", color=red, fontsize=8.5)
        axes.set_yticks(list(rows), [one.name for one in series])
        axes.tick_params(axis="y", labelcolor=COLOURS["ink"], pad=8)
        axes.set_ylim(-0.6, len(series) - 0.4)
        axes.set_xlim(0, 1.15 * max(highest, limit if limit and limit <= NEAR * highest else 0))
        axes.grid(visible=False, axis="y")
        axes.xaxis.set_major_formatter(lambda x, _: human(x, unit, trim=True))
        return svg(figure, what)


def _stretch(percentile: npt.ArrayLike) -> npt.NDArray[np.float64]:
    import numpy as np

    return -np.log10(1 - np.asarray(percentile, dtype=np.float64) / 100)


def _end_labels(axes: Axes, ends: Sequence[tuple[float, str, str]]) -> None:
    """Names at the right end of the curves, pushed apart where they would meet."""
    import numpy as np

    low, high = np.log10(axes.get_ylim())
    gap, last = (high - low) * 0.07, -np.inf
    for value, name, colour in sorted(ends):
        last = max(np.log10(value), last + gap)
        axes.annotate(
            name,
            (1, 10**last),
            (6, 0),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            va="center",
            color=colour,
            fontsize=8.5,
            annotation_clip=False,
        )
