"""How a chart gets into the page: matplotlib draws SVG, and the page's own style colours it, in light and dark.

matplotlib knows no CSS, so each role (ink, grid, series 1 …) is drawn in a placeholder colour that is replaced by a
CSS variable afterwards. Text stays text and takes the page's font.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from typing import TYPE_CHECKING, Any

from nightgate.publish.figures import human

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.typing import RcKeyType

    Floats = npt.NDArray[np.float64]

_VERDICTS = ("pass", "breach", "inconclusive", "invalid")
_SERIES = ("c1", "c2", "c3", "c4", "c5", "c6", "c7")
ROLES = ("card", "ink", "soft", "grid", *_VERDICTS, *_SERIES)
COLOURS = {role: f"#0102{number:02x}" for number, role in enumerate(ROLES, start=16)}
NEAR = 2.0  # a limit further away than this would squeeze what is drawn beside it

_STYLE: dict[RcKeyType, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "nightgate",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.edgecolor": COLOURS["grid"],
    "axes.labelcolor": COLOURS["soft"],
    "text.color": COLOURS["ink"],
    "axes.titlecolor": COLOURS["ink"],
    "xtick.color": COLOURS["soft"],
    "ytick.color": COLOURS["soft"],
    "xtick.labelcolor": COLOURS["soft"],
    "ytick.labelcolor": COLOURS["soft"],
    "axes.grid": True,
    "grid.color": COLOURS["grid"],
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
}


@contextmanager
def drawing(width: float, height: float) -> Iterator[Figure]:
    """A figure of so many inches, drawn under this page's style, without pyplot and its global state."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained", dpi=72)  # SVG's: a point is a pixel
        FigureCanvasSVG(figure)
        yield figure


def svg(figure: Figure, title: str) -> str:
    """The figure as an ``<svg>`` element: no prolog, no metadata, no ids that would meet those of another chart."""
    out = StringIO()
    empty = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(out, format="svg", transparent=True, metadata=empty)
    text = out.getvalue()
    text = text[text.index("<svg") :].strip()
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    text = re.sub(r'<svg ([^>]*?)height="[^"]*" ', r"<svg \1", text, count=1)
    text = re.sub(
        r'<svg ([^>]*?)width="[^"]*" ', rf'<svg role="img" aria-label="{title}" class="chart" \1', text, count=1
    )
    text = re.sub(r"font: ([^;\"']*?)'[^']*'[^;\"]*", r"font: \1inherit", text)
    text = re.sub(r"font-family: [^;\"]*", "font-family: inherit", text)
    for role, colour in COLOURS.items():
        text = text.replace(colour, f"var(--{role})")
    return text


def series_colour(place: int) -> str:
    """The colour of the variant that stands at ``place`` on its card, counted from 0."""
    return COLOURS[_SERIES[place % len(_SERIES)]]


def draw_curve(axes: Axes, x: Floats, y: Floats, colour: str, *, gated: bool) -> None:
    """The line of one variant: strong when it is gated, thin and dashed when it is a control."""
    axes.plot(x, y, color=colour, linewidth=2.0 if gated else 1.2, linestyle="-" if gated else (0, (4, 2)))


def log_axis(axes: Axes, unit: str) -> None:
    """A logarithmic y axis with ticks one can say: 1, 2, 5 ms and so on."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(lambda y, _: human(y, unit, trim=True))
    axes.yaxis.set_minor_formatter(NullFormatter())
