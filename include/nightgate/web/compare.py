"""The page that holds two runs, or two variants of one, against each other."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlencode

from nightgate.errors import ArtifactError, InputError
from nightgate.publish.comparing import Comparison, compare
from nightgate.publish.pairs import pairs, two_variants
from nightgate.record import Record, Summary
from nightgate.results import restore
from nightgate.results.store import Store


@dataclass(frozen=True)
class Asked:
    """The address of the page: run ``first`` with ``second``, or of these the two ``variants``. ``anyway``: differences of two
    that did not do the same work are judged too. ``benchmark`` and ``device`` narrow it down, where they are not empty."""

    first: str
    second: str
    variants: str = ""
    benchmark: str = ""
    device: str = ""
    anyway: bool = False

    @property
    def address(self) -> str:
        of = {name: value for name, value in vars(self).items() if value and name != "anyway"}
        return f"compare?{urlencode(of)}" + ("&anyway=1" if self.anyway else "")


@dataclass(frozen=True)
class Page:
    """``others`` are the variants of the same run that can be compared, each with its address and whether it is the one."""

    first: Summary
    second: Summary
    comparisons: list[Comparison]
    others: list[tuple[str, str, bool]]
    anyway: str | None


def page(store: Store, asked: Asked) -> Page:
    """The page.

    Raises:
        InputError: there are no such runs, or they have nothing in common. NotMeasured: what is asked was not measured.
    """
    with store.together():
        first = _summary(store, asked.first)
        second = first if asked.second == asked.first else _summary(store, asked.second)
        for run in {asked.first, asked.second}:
            with suppress(ArtifactError):  # then the intervals are compared, and the page says so
                restore.fetch(store, run)
    choices = _choices(asked, first) if asked.first == asked.second else []
    if not asked.variants and asked.first == asked.second:
        if not choices:
            raise InputError(f"run {asked.first} measured no two variants of one benchmark", "choose a second run")
        asked = choices[0][1]
    found = pairs(first, second, two_variants(asked.variants), asked.benchmark, asked.device)
    comparisons = [compare((a, first), (b, second), anyway=asked.anyway) for a, b in found]
    differ = any(one.differences for one in comparisons)
    others = [(text, one.address, one == asked) for text, one in choices]
    anyway = Asked(**{**vars(asked), "anyway": True}).address if differ and not asked.anyway else None
    return Page(first, second, comparisons, others, anyway)


def _summary(store: Store, run_id: str) -> Summary:
    summary = store.summary(run_id)
    if summary is None:
        raise InputError(f"there is no judged run {run_id!r}", "choose one on the board")
    return summary


def _choices(asked: Asked, run: Summary) -> list[tuple[str, Asked]]:
    """The first gated variant of each benchmark and device with each other one that was measured."""
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in run.results:
        if record.status == "measured":
            groups.setdefault((record.benchmark, record.device), []).append(record)
    found = []
    for (benchmark, device), records in groups.items():
        first, *rest = sorted(records, key=lambda record: not record.gated)
        found += [
            (f"{first.variant} and {other.variant} on {device}", _of(asked, first, other, benchmark, device))
            for other in rest
        ]
    return found


def _of(asked: Asked, first: Record, other: Record, benchmark: str, device: str) -> Asked:
    return Asked(asked.first, asked.second, f"{first.variant},{other.variant}", benchmark, device, asked.anyway)


def of_runs(first: str, second: str) -> str:
    """The address of the page for two runs, from the board's."""
    return Asked(first, second).address
