"""The report's charts: matplotlib draws SVG, and the page's own style colours it, so that it suits light and dark.

matplotlib knows no CSS, so each role (ink, grid, series 1 …) is drawn in a placeholder colour that is replaced by a
CSS variable afterwards. Text stays text and takes the page's font.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING, Any

from nightgate.publish.figures import human

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROLES = ("ink", "soft", "grid", "pass", "breach", "inconclusive", "invalid", "c1", "c2", "c3", "c4", "c5", "c6")
_COLOURS = {role: f"#0102{number:02x}" for number, role in enumerate(ROLES, start=16)}
_SERIES = [role for role in ROLES if re.fullmatch(r"c\d", role)]
_PERCENTILES = (0, 50, 90, 95, 99, 99.9)
_NEAR = 2.0  # a limit further away than this would squeeze the dots together
_LOG_FROM = 2.5  # a limit exceeded by more than this needs a logarithmic axis

_STYLE: dict[str, Any] = {
    "svg.fonttype": "none", "svg.hashsalt": "nightgate", "font.family": "DejaVu Sans", "font.size": 9,
    "axes.spines.top": False, "axes.spines.right": False, "axes.spines.left": False,
    "axes.edgecolor": _COLOURS["grid"], "axes.labelcolor": _COLOURS["soft"], "text.color": _COLOURS["ink"],
    "axes.titlecolor": _COLOURS["ink"], "xtick.color": _COLOURS["soft"], "ytick.color": _COLOURS["soft"],
    "xtick.labelcolor": _COLOURS["soft"], "ytick.labelcolor": _COLOURS["soft"], "axes.grid": True,
    "grid.color": _COLOURS["grid"], "grid.linewidth": 0.6, "axes.axisbelow": True, "legend.frameon": False,
    "xtick.major.size": 0, "ytick.major.size": 0, "xtick.minor.size": 0, "ytick.minor.size": 0,
}  # fmt: skip


@dataclass(frozen=True)
class Bar:
    """One objective: the share of its limit that is used (1 is the limit), its interval, and what to write beside it."""

    label: str
    used: float
    low: float
    high: float
    text: str
    verdict: str


@dataclass(frozen=True)
class Series:
    """The samples of one variant. ``gated`` ones are drawn strong, controls thin."""

    name: str
    values: np.ndarray
    gated: bool


def objectives(bars: Sequence[Bar]) -> str:
    """Each objective's value and 95 % interval as a share of its limit; everything right of 100 % is past it."""
    with _figure(7.6, 0.55 + 0.42 * len(bars)) as figure:
        axes = figure.subplots()
        rows = range(len(bars) - 1, -1, -1)
        highest = max([1.0, *(max(bar.used, bar.high) for bar in bars)])
        log = highest > _LOG_FROM
        if log:
            lowest = min([0.5, *(bar.low for bar in bars if bar.low > 0), *(bar.used for bar in bars if bar.used > 0)])
            axes.set_xscale("log")
            left, right = lowest / 1.6, highest * 2
        else:
            left, right = 0.0, max(1.2, highest * 1.1)
        axes.set_xlim(left, right)
        axes.axvspan(1, right, color=_COLOURS["breach"], alpha=0.07, linewidth=0)
        axes.axvline(1, color=_COLOURS["ink"], linewidth=1.1)
        for row, bar in zip(rows, bars, strict=True):
            colour = _COLOURS[bar.verdict]
            start, used = (left, max(bar.used, left)) if log else (0, bar.used)
            axes.barh(row, used - start, left=start, height=0.34, color=colour, alpha=0.3, linewidth=0)
            low, high = max(bar.low, left), max(bar.high, left)
            axes.plot([low, high], [row, row], color=colour, linewidth=2.6, solid_capstyle="round")
            axes.plot([used], [row], marker="o", color=colour, markersize=5.5, linestyle="none")
            axes.annotate(
                bar.text, (1, row), (10, 0), xycoords=("axes fraction", "data"), textcoords="offset points", va="center"
            )  # fmt: skip
        axes.set_yticks(list(rows), [bar.label for bar in bars])
        axes.tick_params(axis="y", labelcolor=_COLOURS["ink"], pad=8)
        axes.set_ylim(-0.6, len(bars) - 0.4)
        axes.grid(visible=False, axis="y")
        axes.xaxis.set_major_formatter(lambda x, _: _share(x))
        if not log:
            axes.set_xticks([0, 0.25, 0.5, 0.75, 1, *([round(right, 1)] if right > 1.5 else [])])
        else:
            axes.xaxis.set_minor_formatter(lambda *_: "")
        return _svg(figure, "Each objective's value and 95 % interval as a share of its limit")


def quantiles(series: Sequence[Series], limit: float | None) -> str:
    """Latency by percentile; the percentile axis stretches the tail, as the ``1 / (1 - p)`` of HdrHistogram plots.

    Args:
        series: samples in seconds, 1-d.
        limit: of the 95th percentile, in seconds.
    """
    import numpy as np

    with _figure(7.6, 2.9) as figure:
        axes = figure.subplots()
        most = max(len(one.values) for one in series)
        top = max(99.0, min(99.9, 100 * (1 - 1 / most)))
        percentiles = 100 * (1 - np.geomspace(1, 1 - top / 100, 240))
        ends = []
        for one, colour in zip(series, _colours(series), strict=True):
            curve = np.percentile(one.values, percentiles)
            own = percentiles <= 100 * (1 - 1 / len(one.values))
            width = {"linewidth": 2.0} if one.gated else {"linewidth": 1.2, "linestyle": (0, (4, 2))}
            axes.plot(_stretch(percentiles[own]), curve[own], color=colour, **width)
            p95 = np.percentile(one.values, 95)
            axes.plot(_stretch(95), p95, marker="o", color=colour, markersize=5 if one.gated else 3.5)
            ends.append((float(curve[own][-1]), one.name, colour))
        axes.set_yscale("log")
        shown = [p for p in _PERCENTILES if p <= top + 0.01]
        axes.set_xticks([float(_stretch(p)) for p in shown], ["fastest" if p == 0 else f"P{p:g}" for p in shown])
        if limit:
            right = float(_stretch(95))
            axes.plot([0, right], [limit, limit], color=_COLOURS["breach"], linewidth=1.3)
            axes.plot([right], [limit], marker="v", color=_COLOURS["breach"], markersize=6)
            note = f"P95 limit {human(limit, 'seconds', trim=True)}"
            axes.annotate(note, (0, limit), (2, 4), textcoords="offset points", color=_COLOURS["breach"], fontsize=8.5)
        axes.margins(y=0.14)
        axes.set_xlim(0, float(_stretch(top)) * 1.02)
        _human_axis(axes, "seconds")
        _end_labels(axes, ends)
        return _svg(figure, "Latency by percentile")


def repeats(series: Sequence[Series], limit: float | None, unit: str, what: str) -> str:
    """Every repeat of every variant as a dot, with the mean."""
    with _figure(7.6, 0.75 + 0.42 * len(series)) as figure:
        axes = figure.subplots()
        rows = range(len(series) - 1, -1, -1)
        for row, one, colour in zip(rows, series, _colours(series), strict=True):
            axes.plot(
                one.values,
                [row] * len(one.values),
                marker="o",
                color=colour,
                alpha=0.55,
                markersize=6,
                linestyle="none",
            )
            mean = float(one.values.mean())
            axes.plot([mean, mean], [row - 0.24, row + 0.24], color=colour, linewidth=2)
        highest = max(float(one.values.max()) for one in series)
        if limit:
            note, near = f"limit {human(limit, unit, trim=True)}", limit <= _NEAR * highest
            if near:
                axes.axvline(limit, color=_COLOURS["breach"], linewidth=1.3)
            axes.annotate(
                note if near else f"{note} →", (limit if near else 1, 1), (-4, 2), ha="right", color=_COLOURS["breach"],
                xycoords=("data" if near else "axes fraction", "axes fraction"), textcoords="offset points", fontsize=8.5,
            )  # fmt: skip
        axes.set_yticks(list(rows), [one.name for one in series])
        axes.tick_params(axis="y", labelcolor=_COLOURS["ink"], pad=8)
        axes.set_ylim(-0.6, len(series) - 0.4)
        axes.set_xlim(0, 1.15 * max(highest, limit if limit and limit <= _NEAR * highest else 0))
        axes.grid(visible=False, axis="y")
        axes.xaxis.set_major_formatter(lambda x, _: human(x, unit, trim=True))
        return _svg(figure, what)


class _figure:
    """A figure drawn under this page's style, without pyplot and its global state."""

    def __init__(self, width: float, height: float) -> None:
        self._size = (width, height)

    def __enter__(self) -> Figure:
        from matplotlib import rc_context
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure

        self._style = rc_context(_STYLE)
        self._style.__enter__()
        figure = Figure(figsize=self._size, layout="constrained")
        FigureCanvasSVG(figure)
        return figure

    def __exit__(self, *error: Any) -> None:
        self._style.__exit__(*error)


def _svg(figure: Figure, title: str) -> str:
    """The figure as an ``<svg>`` element: no prolog, no metadata, no ids that would meet those of another chart."""
    out = StringIO()
    empty = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(out, format="svg", transparent=True, metadata=empty)
    svg = out.getvalue()
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r'<svg ([^>]*?)height="[^"]*" ', r"<svg \1", svg, count=1)
    svg = re.sub(
        r'<svg ([^>]*?)width="[^"]*" ', rf'<svg role="img" aria-label="{title}" class="chart" \1', svg, count=1
    )
    svg = re.sub(r"font: ([^;\"']*?)'[^']*'[^;\"]*", r"font: \1inherit", svg)
    svg = re.sub(r"font-family: [^;\"]*", "font-family: inherit", svg)
    for role, colour in _COLOURS.items():
        svg = svg.replace(colour, f"var(--{role})")
    return svg


def _colours(series: Sequence[Series]) -> list[str]:
    return [_COLOURS[_SERIES[number % len(_SERIES)]] for number in range(len(series))]


def _stretch(percentile: Any) -> Any:
    import numpy as np

    return -np.log10(1 - np.asarray(percentile) / 100)


def _share(x: float) -> str:
    if x == 1:
        return "limit"
    return f"{x * 100:.3g} %" if x < 10 else f"× {x:,.0f}"


def _human_axis(axes: Axes, unit: str) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(lambda y, _: human(y, unit, trim=True))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _end_labels(axes: Axes, ends: Sequence[tuple[float, str, str]]) -> None:
    """Names at the right end of the curves, pushed apart where they would meet."""
    import numpy as np

    low, high = np.log10(axes.get_ylim())
    gap, last = (high - low) * 0.07, -np.inf
    for value, name, colour in sorted(ends):
        last = max(np.log10(value), last + gap)
        axes.annotate(
            name, (1, 10**last), (6, 0), xycoords=("axes fraction", "data"), textcoords="offset points",
            va="center", color=colour, fontsize=8.5, annotation_clip=False,
        )  # fmt: skip
