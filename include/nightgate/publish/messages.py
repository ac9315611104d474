"""What people are told, as one message: plain text, Markdown, HTML and JSON."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nightgate.results.alerts import News

_HEADS = {
    ("breach", False): "Breached",
    ("regression", False): "Slower or worse than before",
    ("undecided", False): "Undecided for nights",
    ("breach", True): "Holds again",
    ("regression", True): "As before again",
}


@dataclass(frozen=True)
class Message:
    """All news of a suite at once. ``link`` leads to the run on the board."""

    suite: str
    run_id: str
    link: str
    news: Sequence[News]

    @property
    def subject(self) -> str:
        """A line that says what it is about: "Nightgate nightly: 1 breached, 2 as before again"."""
        parts = [f"{len(of)} {head[0].lower()}{head[1:]}" for head, of in self.groups()]
        return f"Nightgate {self.suite}: {', '.join(parts)}"

    def groups(self) -> list[tuple[str, list[News]]]:
        found: dict[str, list[News]] = {}
        for one in sorted(self.news, key=lambda one: list(_HEADS).index((one.kind, one.over))):
            found.setdefault(_HEADS[one.kind, one.over], []).append(one)
        return list(found.items())

    def text(self) -> str:
        lines = []
        for head, of in self.groups():
            lines += [head, ""]
            for one in of:
                lines.append(f"- {_sentence(one)}")
                lines += [
                    f"    {'probably' if place == 0 else 'or'}: {cause}" for place, cause in enumerate(_causes(one))
                ]
            lines.append("")
        return "\n".join([*lines, self.link]) + "\n"

    def markdown(self) -> str:
        lines = []
        for head, of in self.groups():
            lines += [f"### {head}", ""]
            for one in of:
                lines.append(f"- {_sentence(one)}")
                lines += [
                    f"  - {'probably' if place == 0 else 'or'}: {cause}" for place, cause in enumerate(_causes(one))
                ]
            lines.append("")
        return "\n".join([*lines, f"[{self.run_id} on the board]({self.link})"]) + "\n"

    def html(self) -> str:
        parts = []
        for head, of in self.groups():
            items = "".join(
                f"<li>{html.escape(_sentence(one))}"
                + (
                    "<ul>" + "".join(f"<li>{html.escape(cause)}</li>" for cause in causes) + "</ul>"
                    if (causes := _causes(one))
                    else ""
                )
                + "</li>"
                for one in of
            )
            parts.append(f"<h3>{html.escape(head)}</h3><ul>{items}</ul>")
        link = f'<p><a href="{html.escape(self.link, quote=True)}">{html.escape(self.run_id)} on the board</a></p>'
        return "".join([*parts, link])

    def json(self) -> dict[str, Any]:
        """For programs; its keys only grow."""
        return {
            "schema_version": 1,
            "suite": self.suite,
            "run_id": self.run_id,
            "link": self.link,
            "subject": self.subject,
            "text": self.text(),
            "news": [
                {
                    "kind": "recovery" if one.over else one.kind,
                    "of": one.kind,
                    "run_id": one.run_id,
                    **one.said.model_dump(mode="json"),
                    "sentence": _sentence(one),
                }
                for one in self.news
            ],
        }


def _sentence(one: News) -> str:
    return f"{one.said.sentence} That ended with {one.run_id}." if one.over else one.said.sentence


def _causes(one: News) -> Sequence[str]:
    return () if one.over else one.said.causes
