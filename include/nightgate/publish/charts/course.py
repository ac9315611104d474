"""The course of a metric over the nights of its series: a small picture for a row, a large one for a page of its own.

Written as SVG by hand and not by matplotlib, which takes a hundred times as long: a board shows dozens of them, and each point of
the large one is a link that a keyboard reaches too. Colours are those of the page's style.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import NamedTuple

from nightgate.publish.figures import clock, human

_NEAR = 1.5  # times what the values span: a limit further away would flatten them, and is said instead
_LEAST = 0.02  # of the value: a series that does not move is not blown up
_TICKS = 4
_ROOM = 300  # pixels that the longest text takes


@dataclass(frozen=True)
class Night:
    """One night of a series: ``value`` and its 95 % interval from ``low`` to ``high``, None where nothing is known of it, and what
    its ``limit`` was. ``verdict`` is a word, ``label`` what is to be known of it, ``to`` where its report is.

    ``hollow``: it counts for nothing, because the host was disturbed. ``excluded`` and ``accepted`` are what people said of it;
    ``changed`` names what else was another since the night before. ``shifted``: the watch confirmed in this night that it had become
    "worse", or that it was "as before" again.
    """

    at: str
    value: float
    label: str
    low: float | None = None
    high: float | None = None
    limit: float | None = None
    verdict: str | None = None
    to: str | None = None
    hollow: bool = False
    excluded: bool = False
    accepted: bool = False
    changed: str | None = None
    shifted: str | None = None


class _Box(NamedTuple):
    """Where the values are drawn, in pixels, and which values its lower and upper edge are."""

    left: float
    top: float
    right: float
    bottom: float
    low: float
    high: float
    nights: int

    def x(self, place: int) -> float:
        return self.left + (self.right - self.left) * (place + 0.5) / self.nights

    def y(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return self.bottom - (self.bottom - self.top) * min(1.0, max(0.0, share))


def spark(nights: Sequence[Night], label: str, width: int = 160, height: int = 40) -> str:
    """A small course without axes, the oldest night first. ``label`` says in words what it shows."""
    if not nights:
        return ""
    box = _box(nights, 2, 4, width - 6, height - 4)
    last = nights[-1]
    parts = [_band(nights, box), _limit(nights, box), _line(nights, box)]
    parts += [
        _dot(box, place, night, 2.0)
        for place, night in enumerate(nights[:-1])
        if night.hollow or night.verdict == "breach"
    ]
    parts.append(_dot(box, len(nights) - 1, last, 3.2))
    return (
        f'<svg class="spark" role="img" aria-label="{escape(label)}" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}">{"".join(parts)}</svg>'
    )


def course(nights: Sequence[Night], unit: str, title: str, width: int = 960, height: int = 346) -> str:
    """The large one, with axes; each night is a link with its facts. The oldest night first, at least one."""
    box = _box(nights, 72, 34, width - 14, height - 44)
    parts = [_rules(box, unit), _days(nights, box), _band(nights, box), _limit(nights, box), _line(nights, box)]
    for place, night in enumerate(nights):
        x = box.x(place)
        if night.accepted:
            parts.append(_mark(box, x, "accepted", "new baseline", 4))
        if night.shifted:
            parts.append(_mark(box, x, "shifted", night.shifted, 18))
        if night.changed:
            parts.append(
                f'<path class="changed" d="M{x - 4:.1f},{box.bottom + 8} h8 l-4,-7 z"><title>{escape(night.changed)}</title></path>'
            )
        dot = _dot(box, place, night, 4.0 if len(nights) < 120 else 2.6, f"<title>{escape(night.label)}</title>")
        to = f' href="{escape(night.to)}"' if night.to else ' tabindex="0"'
        parts.append(f'<a{to} aria-label="{escape(night.label)}">{dot}</a>')
    parts.append(_beyond(nights, box, unit))
    return f'<svg class="course" role="group" aria-label="{escape(title)}" viewBox="0 0 {width} {height}">{"".join(parts)}</svg>'


def _mark(box: _Box, x: float, kind: str, text: str, up: int) -> str:
    """A line over the whole height, with its word above."""
    return (
        f'<line class="{kind}" x1="{x:.1f}" y1="{box.top}" x2="{x:.1f}" y2="{box.bottom}"/>'
        f'<text class="soft middle" x="{x:.1f}" y="{box.top - up}">{escape(text)}</text>'
    )


def _box(nights: Sequence[Night], left: float, top: float, right: float, bottom: float) -> _Box:
    ends = [end for night in nights for end in (night.value, night.low, night.high) if end is not None]
    low, high = min(ends), max(ends)
    span = max(high - low, _LEAST * abs(high), 1e-12)
    limits = [night.limit for night in nights if night.limit is not None and _is_near(night.limit, low, high, span)]
    low, high = min([low, *limits]), max([high, *limits])
    edge = 0.08 * max(high - low, span)
    return _Box(left, top, right, bottom, low - edge, high + edge, len(nights))


def _is_near(limit: float, low: float, high: float, span: float) -> bool:
    return low - _NEAR * span <= limit <= high + _NEAR * span


def _band(nights: Sequence[Night], box: _Box) -> str:
    """The intervals, one area for each stretch of nights that have one."""
    areas = []
    for stretch in _stretches(nights, lambda night: night.low is not None and night.high is not None):
        upper = [f"{box.x(place):.1f},{box.y(nights[place].high or 0):.1f}" for place in stretch]
        lower = [f"{box.x(place):.1f},{box.y(nights[place].low or 0):.1f}" for place in reversed(stretch)]
        if len(stretch) > 1:
            areas.append(f'<path class="band" d="M{" L".join([*upper, *lower])} Z"/>')
        else:
            areas.append(f'<path class="whisker" d="M{upper[0]} L{lower[0]}"/>')
    return "".join(areas)


def _line(nights: Sequence[Night], box: _Box) -> str:
    """Through the nights that count."""
    counted = [place for place, night in enumerate(nights) if not (night.hollow or night.excluded)]
    points = " L".join(f"{box.x(place):.1f},{box.y(nights[place].value):.1f}" for place in counted)
    return f'<path class="line" d="M{points}"/>' if len(counted) > 1 else ""


def _limit(nights: Sequence[Night], box: _Box) -> str:
    """The limit of each night, as steps; where it lies outside the picture, along its edge."""
    half = (box.right - box.left) / box.nights / 2
    steps = []
    for stretch in _stretches(nights, lambda night: night.limit is not None):
        path = " L".join(
            f"{x:.1f},{box.y(limit):.1f}"
            for place in stretch
            if (limit := nights[place].limit) is not None
            for x in (box.x(place) - half, box.x(place) + half)
        )
        steps.append(f'<path class="limit" d="M{path}"/>')
    return "".join(steps)


def _dot(box: _Box, place: int, night: Night, radius: float, inside: str = "") -> str:
    x, y, tone = box.x(place), box.y(night.value), night.verdict or "unjudged"
    if night.excluded:
        return (
            f'<path class="dot excluded" d="M{x - radius:.1f},{y - radius:.1f} l{2 * radius:.1f},{2 * radius:.1f} '
            f'm0,-{2 * radius:.1f} l-{2 * radius:.1f},{2 * radius:.1f}">{inside}</path>'
        )
    kind = "dot hollow" if night.hollow else "dot"
    return f'<circle class="{kind} {tone}" cx="{x:.1f}" cy="{y:.1f}" r="{radius}">{inside}</circle>'


def _rules(box: _Box, unit: str) -> str:
    lines = []
    for value in _round_values(box.low, box.high):
        y = box.y(value)
        lines.append(
            f'<line class="rule" x1="{box.left}" y1="{y:.1f}" x2="{box.right}" y2="{y:.1f}"/>'
            f'<text class="soft end" x="{box.left - 8}" y="{y + 4:.1f}">{escape(human(value, unit, trim=True))}</text>'
        )
    return "".join(lines)


def _round_values(low: float, high: float) -> list[float]:
    """A few values between two that one can say: 1, 2, 2.5 or 5 times a power of ten apart."""
    rough = (high - low) / _TICKS
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(of * size for of in (1, 2, 2.5, 5, 10) if of * size >= rough)
    return [place * step for place in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _days(nights: Sequence[Night], box: _Box) -> str:
    """Dates under the first night, the last, and a few between."""
    few = min(6, len(nights))
    places = sorted({round(number * (len(nights) - 1) / max(1, few - 1)) for number in range(few)})
    return "".join(
        f'<text class="soft middle" x="{box.x(place):.1f}" y="{box.bottom + 26}">{" ".join(clock(nights[place].at).split()[:2])}</text>'
        for place in places
    )


def _beyond(nights: Sequence[Night], box: _Box, unit: str) -> str:
    """How far a limit lies that is drawn along an edge of the picture: of each edge the newest, at the end of its nights."""
    half, said = (box.right - box.left) / box.nights / 2, {}
    for place, night in enumerate(nights):
        limit, after = night.limit, nights[place + 1].limit if place + 1 < len(nights) else None
        if limit is None or box.low <= limit <= box.high or limit == after:
            continue
        y, where = (box.top + 12, "above") if limit > box.high else (box.bottom - 6, "below")
        text = f"the limit, {human(limit, unit, trim=True)}, lies {where} this picture"
        room = box.x(place) + half - box.left > _ROOM
        kind, x = ("limit-text end", box.x(place) + half) if room else ("limit-text", box.left)
        said[where] = f'<text class="{kind}" x="{x:.1f}" y="{y}">{escape(text)}</text>'
    return "".join(said.values())


def _stretches(nights: Sequence[Night], of: Callable[[Night], bool]) -> list[list[int]]:
    """The places of nights that follow each other and are ``of`` a kind."""
    found: list[list[int]] = []
    for place, night in enumerate(nights):
        if of(night):
            if found and found[-1][-1] == place - 1:
                found[-1].append(place)
            else:
                found.append([place])
    return found
