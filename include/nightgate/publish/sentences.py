"""What there is to say of a run in a sentence: its verdict, and each objective that is not met."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from operator import itemgetter
from typing import Any

from nightgate import registry
from nightgate.judge import failed_unjudged
from nightgate.publish.rows import GRAVITY, objective_rows
from nightgate.record import Record, Summary


def unmet(records: Iterable[Record]) -> list[str]:
    """A sentence for each objective that does not pass and each gated variant that failed without one, the gravest first."""
    known = list(records)
    found = [
        (GRAVITY.index(row["verdict"]), " ".join(filter(None, (of_objective(row), _why(row)))))
        for row in objective_rows(known)
        if row["verdict"] != "pass"
    ]
    for record in filter(failed_unjudged, known):
        who = f"{registry.title(record.benchmark)}, {record.variant} on {record.device}"
        found.append((GRAVITY.index("invalid"), f"{who} failed: {record.reason or 'no reason was given'}."))
    return [sentence for _, sentence in sorted(found, key=itemgetter(0))]


def said_of(summary: Summary) -> list[str]:
    """A run in a few sentences: the verdict, and each objective that is not met."""
    rows = objective_rows(summary.results)
    return [f"{headline(summary.state, rows)}.", *(unmet(summary.results) or lead(rows))]


def headline(state: str, rows: list[dict[str, Any]]) -> str:
    """The verdict on the run in a few words."""
    count = sum(row["verdict"] == state for row in rows)
    one = count == 1
    if state == "pass":
        return "The objective holds" if one else f"All {count} objectives hold"
    if state == "breach":
        return "1 objective is breached" if one else f"{count} objectives are breached"
    if state == "inconclusive":
        rest = len(rows) - count
        held = f", the other {f'{rest} hold' if rest > 1 else 'holds'}" if rest else ""
        return ("1 objective is undecided" if one else f"{count} objectives are undecided") + held
    invalid = [row for row in rows if row["verdict"] == "invalid"]
    if invalid and all(row["doubtful"] for row in invalid):
        return f"The host was disturbed: {len(invalid)} objective{'s are' if len(invalid) > 1 else ' is'} not judged"
    return "Not everything could be measured" if rows else "Nothing was judged"


def lead(rows: list[dict[str, Any]]) -> list[str]:
    """What stands under the headline: each objective that is not met, or the tightest when all are."""
    unmet = [row for row in rows if row["verdict"] != "pass"]
    if unmet:
        return [of_objective(row) for row in unmet]
    sentence = tightest(rows)
    return [sentence] if sentence else []


def tightest(rows: list[dict[str, Any]]) -> str | None:
    """A sentence on the objective that uses most of what its limit allows; None where that cannot be said of any."""
    known = [row for row in rows if row["used"] is not None]
    if not known:
        return None
    tight = max(known, key=lambda row: row["used"])
    return (
        f"The tightest is {tight['metric']} of {tight['benchmark']}, {tight['variant']} on {tight['device']}: "
        f"{tight['value']} against {tight['limit']}, {tight['headroom']} headroom."
    )


def of_objective(row: Mapping[str, Any]) -> str:
    """Of an objective that is not met."""
    who = f"{row['benchmark']}, {row['variant']} on {row['device']}"
    if row["verdict"] == "invalid" and row["doubtful"]:
        return f"{who}: {row['metric']} is not judged."
    if row["raw"] is None:
        return f"{who}: no {row['metric']}. {_as_sentence(row['reason'])}".rstrip()
    interval = f" (95 % interval {row['interval']})" if row["interval"] != "–" else ""
    text = f"{who}: {row['metric']} is {row['value']}{interval}, the limit {row['limit']}{past(row)}."
    if row["verdict"] == "invalid":
        text += " Not known."
    if row["verdict"] == "inconclusive":
        text += " Undecided." if row["nights"] == 1 else f" Undecided for {row['nights']} nights."
    return text


def past(row: Mapping[str, Any]) -> str:
    """How far a breached objective lies past its limit: ", 4 % past it"; empty where that cannot be said."""
    over = row["used"] is not None and row["used"] > 1 and row["verdict"] == "breach"
    return f", {(row['used'] - 1) * 100:,.0f} % past it" if over else ""


def _why(row: Mapping[str, Any]) -> str:
    """The reason of a verdict as a sentence, where the sentence of its objective does not hold it already."""
    return "" if row["raw"] is None else _as_sentence(row["reason"])


def _as_sentence(text: str | None) -> str:
    text = (text or "").strip()
    return text and text[0].upper() + text[1:].rstrip(".") + "."
