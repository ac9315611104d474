"""Do the objectives hold: each one's value and interval against its limit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nightgate.publish.charts.page import COLOURS, drawing, svg

_LOG_FROM = 2.5  # a limit exceeded by more than this needs a logarithmic axis


@dataclass(frozen=True)
class Bar:
    """One objective: the share of its limit that is used (1 is the limit), its interval, and what to write beside it.

    ``hollow``: it is shown and counts for nothing.
    """

    label: str
    used: float
    low: float
    high: float
    text: str
    verdict: str
    hollow: bool = False


def objectives(bars: Sequence[Bar]) -> str:
    """Each objective's value and 95 % interval as a share of its limit; everything right of 100 % is past it."""
    with drawing(7.6, 0.55 + 0.42 * len(bars)) as figure:
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
        axes.axvspan(1, right, color=COLOURS["breach"], alpha=0.07, linewidth=0)
        axes.axvline(1, color=COLOURS["ink"], linewidth=1.1)
        for row, bar in zip(rows, bars, strict=True):
            colour = COLOURS[bar.verdict]
            start, used = (left, max(bar.used, left)) if log else (0, bar.used)
            axes.barh(
                row, used - start, left=start, height=0.34, color=colour, alpha=0.08 if bar.hollow else 0.3, linewidth=0
            )
            low, high = max(bar.low, left), max(bar.high, left)
            axes.plot(
                [low, high], [row, row], color=colour, linewidth=1.2 if bar.hollow else 2.6, solid_capstyle="round"
            )
            (mark,) = axes.plot([used], [row], marker="o", color=colour, markersize=5.5, linestyle="none")
            if bar.hollow:
                mark.set_markerfacecolor(COLOURS["card"])
            axes.annotate(
                bar.text, (1, row), (10, 0), xycoords=("axes fraction", "data"), textcoords="offset points", va="center"
            )
        axes.set_yticks(list(rows), [bar.label for bar in bars])
        axes.tick_params(axis="y", labelcolor=COLOURS["ink"], pad=8)
        axes.set_ylim(-0.6, len(bars) - 0.4)
        axes.grid(visible=False, axis="y")
        axes.xaxis.set_major_formatter(lambda x, _: _share(x))
        if not log:
            axes.set_xticks([0, 0.25, 0.5, 0.75, 1, *([round(right, 1)] if right > 1.5 else [])])
        else:
            axes.xaxis.set_minor_formatter(lambda *_: "")
        return svg(figure, "Each objective's value and 95 % interval as a share of its limit")


def _share(x: float) -> str:
    if x == 1:
        return "limit"
    return f"{x * 100:.3g} %" if x < 10 else f"× {x:,.0f}"
