"""Which two records are to be compared: of two runs, or of two variants."""

from __future__ import annotations

from collections.abc import Iterable

from nightgate.errors import InputError, NotMeasured, nearest
from nightgate.publish import figures
from nightgate.record import Record, Summary


def pairs(
    before: Summary, after: Summary, variants: tuple[str, str] | None = None, benchmark: str = "", device: str = ""
) -> list[tuple[Record, Record]]:
    """Each variant of run ``before`` with the same one of ``after``; or the first of ``variants`` with the second.

    ``benchmark`` and ``device`` narrow it down. A pair of which neither was measured is left out.

    Raises:
        InputError: a run has no such variant, benchmark or device, or the two have nothing in common.
        NotMeasured: what is to be compared was not measured.
    """
    first, second = (_chosen(run, benchmark, device) for run in (before, after))
    if variants:
        first, second = _of(first, variants[0], before), _of(second, variants[1], after)
    others = {_key(record, variants): record for record in second}
    found = [(record, others[key]) for record in first if (key := _key(record, variants)) in others]
    if not found:
        raise InputError(
            f"nothing is in both: {_list(first)} in {before.run_id}, {_list(second)} in {after.run_id}",
            "compare what ran on the same benchmark and device",
        )
    measured = [pair for pair in found if any(record.status == "measured" for record in pair)]
    if not measured:
        raise NotMeasured("; ".join(dict.fromkeys(figures.headline(record) for pair in found for record in pair)))
    return measured


def two_variants(text: str) -> tuple[str, str] | None:
    """The variants of "A,B"; None of an empty text. InputError: these are not two names."""
    names = [name.strip() for name in text.split(",")]
    if text and (len(names) != 2 or not all(names)):
        raise InputError(f"{text!r} does not name two variants", "write both with a comma between them: A,B")
    return (names[0], names[1]) if text else None


def _chosen(run: Summary, benchmark: str, device: str) -> list[Record]:
    found = run.results
    for what, wanted in (("benchmark", benchmark), ("device", device)):
        if wanted:
            known = sorted({getattr(record, what) for record in found})
            found = [record for record in found if getattr(record, what) == wanted]
            if not found:
                raise _unknown(what, wanted, known, run)
    return found


def _of(records: list[Record], variant: str, run: Summary) -> list[Record]:
    found = [record for record in records if record.variant == variant]
    if not found:
        raise _unknown("variant", variant, sorted({record.variant for record in records}), run)
    return found


def _unknown(what: str, name: str, known: list[str], run: Summary) -> InputError:
    return InputError(
        f"run {run.run_id} has no {what} {name!r}{nearest(name, known)}",
        f"use one of {', '.join(known)}" if known else None,
    )


def _key(record: Record, variants: tuple[str, str] | None) -> tuple[str, ...]:
    return (record.benchmark, record.device) if variants else (record.benchmark, record.device, record.variant)


def _list(records: Iterable[Record]) -> str:
    return ", ".join(f"{record.variant} ({record.benchmark} on {record.device})" for record in records) or "nothing"
