"""An Atom feed (RFC 4287) of the nights on which a verdict became another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

from nightgate.publish import certainty

_ATOM = "http://www.w3.org/2005/Atom"


@dataclass(frozen=True)
class Change:
    """A night whose verdict is another than that of the night ``before``, or the first of all. ``lines``: what is not met."""

    run_id: str
    series: str
    at: str
    before: str | None
    now: str
    lines: Sequence[str]


def feed(changes: Sequence[Change], board: str) -> str:
    """The feed, the newest first. ``board`` is the address of the board, with a slash at its end."""
    ElementTree.register_namespace("", _ATOM)
    root = ElementTree.Element(f"{{{_ATOM}}}feed")
    _add(root, "id", f"{board}feed.atom")
    _add(root, "title", "Nightgate: verdicts that became another")
    _add(root, "updated", changes[0].at if changes else "1970-01-01T00:00:00Z")
    author = ElementTree.SubElement(root, f"{{{_ATOM}}}author")
    _add(author, "name", "Nightgate")
    ElementTree.SubElement(root, f"{{{_ATOM}}}link", rel="self", href=f"{board}feed.atom")
    for change in changes:
        entry = ElementTree.SubElement(root, f"{{{_ATOM}}}entry")
        page = f"{board}runs/{change.run_id}"
        _add(entry, "id", page)
        _add(entry, "title", f"{change.series}: {_was(change)}{certainty.word(change.now)}")
        _add(entry, "updated", change.at)
        ElementTree.SubElement(entry, f"{{{_ATOM}}}link", rel="alternate", href=page)
        _add(entry, "content", "\n".join(change.lines) or "Every objective holds.")
    return ElementTree.tostring(root, "unicode", xml_declaration=True)


def _was(change: Change) -> str:
    return f"{certainty.word(change.before)} → " if change.before else ""


def _add(parent: ElementTree.Element, name: str, text: str) -> None:
    ElementTree.SubElement(parent, f"{{{_ATOM}}}{name}").text = text
