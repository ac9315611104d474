"""Names beside points of a chart, each where it covers the fewest lines, dots and other names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import TYPE_CHECKING

from nightgate.publish.charts.page import COLOURS

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    Floats = npt.NDArray[np.float64]

_GAPS = (6, 16, 30, 46, 64)  # pixels between a point and its name
_MARK = 8  # pixels from a point that its mark takes


@dataclass(frozen=True)
class Name:
    """What to write, and the point (in the units of the axes) that it names."""

    text: str
    at: tuple[float, float]
    colour: str
    bold: bool


def write_names(figure: Figure, axes: Axes, names: Sequence[Name]) -> None:
    """Write them, from the top down, with a thin line to the point. The axes must have their limits and lines by now."""
    import numpy as np

    figure.draw_without_rendering()  # from here on the axes stay where they are
    frame = axes.get_window_extent()
    corners = np.array([frame.p0, frame.p1])
    taken = np.concatenate([_on_screen(line) for line in axes.get_lines()])
    for name in sorted(names, key=lambda name: -name.at[1]):
        label = axes.annotate(
            name.text,
            name.at,
            (0, 0),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=9,
            zorder=6,
            color=name.colour,
            fontweight="bold" if name.bold else "normal",
            bbox={"facecolor": COLOURS["card"], "alpha": 0.7, "linewidth": 0, "pad": 1},
            arrowprops={"arrowstyle": "-", "color": name.colour, "linewidth": 0.8, "shrinkB": 5},
        )
        label.set_in_layout(False)
        half = np.array(label.get_window_extent().size) / 2 + 2
        at = axes.transData.transform(name.at)
        offset = _free(at, half, taken, corners)
        label.set_position((float(offset[0]), float(offset[1])))
        taken = np.concatenate([taken, _filled(at + offset, half), _leader(at, offset)])


def _free(at: Floats, half: Floats, taken: Floats, corners: Floats) -> Floats:
    """How far from ``at`` a box of half size ``half`` is best put, in pixels: near, within the corners, off what is taken."""
    import numpy as np

    def cost(offset: Floats) -> float:
        centre = at + offset
        outside = (centre - half < corners[0]).any() or (centre + half > corners[1]).any()
        covered = (np.abs(taken - centre) < half).all(axis=1).sum()
        crossed = (np.abs(taken[:, None] - _leader(at, offset)).max(axis=2) < 3).sum()
        return float(1000.0 * outside + 8.0 * covered + 2.0 * crossed + np.hypot(*offset))

    steps = (-1, -0.5, 0, 0.5, 1)
    ways = [np.array(way) for way in product(steps, steps) if max(map(abs, way)) == 1]
    return min((way * (half + gap) for way in ways for gap in _GAPS), key=cost)


def _leader(at: Floats, offset: Floats) -> Floats:
    """The line from a mark's edge to its name, as `_along`."""
    import numpy as np

    start = offset * min(1, _MARK / float(np.hypot(*offset)))
    return _along(np.array([at + start, at + offset]))


def _on_screen(line: Line2D) -> Floats:
    """Where a line or a row of dots is drawn, in pixels, (n, 2)."""
    points: Floats = line.get_transform().transform(line.get_xydata())
    return points if line.get_linestyle() == "None" else _along(points)


def _along(line: Floats) -> Floats:
    """Points every few pixels along a line, (n, 2)."""
    import numpy as np

    pieces = [np.linspace(a, b, 2 + int(np.hypot(*(b - a)) // 4)) for a, b in pairwise(line)]
    return np.concatenate([line, *pieces])


def _filled(centre: Floats, half: Floats) -> Floats:
    """Points all over a box, (n, 2)."""
    import numpy as np

    across = [np.linspace(-size, size, 2 + int(size // 2)) for size in half]
    box: Floats = np.array(list(product(*across)))
    return centre + box
