"""A badge: what became of the last night of a suite, in a picture for a README or a wall."""

from __future__ import annotations

from html import escape

from nightgate.publish import certainty

_COLOURS = {"pass": "#0f6b30", "breach": "#b3161f", "inconclusive": "#855000", "invalid": "#5a3ab0"}
_UNKNOWN = "#5d6678"
_CHARACTER, _PAD, _HEIGHT = 6.6, 8, 20  # pixels; the first of the font's mean character


def badge(suite: str, state: str | None, day: str = "") -> str:
    """SVG. ``state`` of the night, None where there is none; ``day`` on which it was."""
    said = " · ".join(filter(None, (certainty.word(state) if state else "no night yet", day)))
    left, right = (_width(text) for text in (suite, said))
    width, colour = left + right, _COLOURS.get(state or "", _UNKNOWN)
    title = escape(f"{suite}: {said}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{_HEIGHT}" role="img" aria-label="{title}">'
        f'<title>{title}</title><clipPath id="r"><rect width="{width}" height="{_HEIGHT}" rx="4"/></clipPath>'
        f'<g clip-path="url(#r)"><rect width="{left}" height="{_HEIGHT}" fill="#333a49"/>'
        f'<rect x="{left}" width="{right}" height="{_HEIGHT}" fill="{colour}"/></g>'
        f'<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11" text-anchor="middle">'
        f"{_text(suite, left / 2, left)}{_text(said, left + right / 2, right)}</g></svg>"
    )


def _width(text: str) -> int:
    return round(len(text) * _CHARACTER) + 2 * _PAD


def _text(text: str, middle: float, width: int) -> str:
    return f'<text x="{middle:.1f}" y="14" textLength="{width - 2 * _PAD}">{escape(text)}</text>'
