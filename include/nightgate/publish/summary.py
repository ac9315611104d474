"""The verdict on a run as Markdown that fits a chat message or the summary of a CI job."""

from __future__ import annotations

from typing import Any

from nightgate.publish import certainty, figures, sentences
from nightgate.publish.absent import skips
from nightgate.publish.rows import objective_rows
from nightgate.record import Summary

LONGEST = 3500
"""Characters: chats take some 4,000 and more."""

_MARKS = {"pass": "🟢", "breach": "🔴", "inconclusive": "🟡", "invalid": "🟣"}
_HEAD = "| | objective | value | limit | headroom |\n|---|---|---:|---:|---:|"


def render_summary(summary: Summary) -> str:
    """The headline, what is not met, a table of all objectives as far as there is room, and what is to be known besides."""
    rows = objective_rows(summary.results)
    title = f"### {_MARKS[summary.state]} {sentences.headline(summary.state, rows)}"
    where = (
        f"{summary.suite}, {summary.scale}, {figures.clock(summary.started_at)}, host {summary.host.fingerprint}, "
        f"run `{summary.run_id}`"
    )
    lines = [f"- {sentence}" for sentence in sentences.unmet(summary.results)]
    besides = [f"Disturbed: {text}." for text in certainty.disturbances(summary.results)]
    besides += [f"Skipped: {text}" for text in skips(summary.results)]
    text = "\n\n".join(filter(None, (title, where, "\n".join(lines))))
    for part in (_table(rows), *besides):
        if part and len(text) + len(part) < LONGEST:
            text += f"\n\n{part}"
    return (text if len(text) <= LONGEST else text[:LONGEST].rpartition("\n")[0] + "\n- …") + "\n"


def _table(rows: list[dict[str, Any]]) -> str:
    cells = [
        f"| {_MARKS[row['verdict']]} | {row['metric']} of {row['variant']} on {row['device']} | {row['value']} | {row['limit']} | {row['headroom']} |"
        for row in rows
    ]
    return "\n".join([_HEAD, *cells]) if cells else ""
