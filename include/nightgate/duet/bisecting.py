"""Which of many changes makes the difference between two runs: by duets, halving the changes until one is left.

The first duet is of both ends; then the good environment with the first half of what changed at its new version, and so on. What
was measured is kept after each duet, so that a search that is killed goes on where it was.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from nightgate.errors import InputError, NightgateError
from nightgate.files import write_text

log = logging.getLogger(__name__)

_SURE = 0.95


class Tried(BaseModel):
    """One duet of the good environment and the same with ``names`` at their new versions: the logarithms of the ratios (of shares
    the differences) of its rounds, or why it could not be measured."""

    model_config = ConfigDict(extra="forbid")
    names: tuple[str, ...]
    ratios: tuple[float, ...] = ()
    error: str | None = None

    @property
    def mean(self) -> float:
        return math.fsum(self.ratios) / len(self.ratios)

    def beyond(self, limit: float) -> float:
        """How probable it is that the true ratio lies beyond ``limit``, on the side where it is larger: Student's t."""
        from statistics import stdev

        from scipy.stats import t

        error = stdev(self.ratios) / math.sqrt(len(self.ratios))
        if not error:
            return 1.0 if self.mean > limit else 0.0
        return float(t.cdf((self.mean - limit) / error, len(self.ratios) - 1))


class Search(BaseModel):
    """A search as it stands. ``changes``: name → version before and after, in the order in which they are tried."""

    model_config = ConfigDict(extra="forbid")
    about: str
    changes: dict[str, tuple[str | None, str | None]]
    tried: list[Tried] = []

    def of(self, names: Sequence[str]) -> Tried | None:
        return next((one for one in self.tried if one.names == tuple(names)), None)


class Verdict(BaseModel):
    """``kind``: one change was "found", they are "inseparable", or there is "nothing" to find. ``names`` of the changes; ``share`` of the
    whole shift that they make by themselves; ``sure``: how probable all decisions on the way were together. ``whole`` is the
    logarithm of the ratio (the difference) between both ends."""

    kind: Literal["found", "inseparable", "nothing"]
    names: tuple[str, ...] = ()
    share: float | None = None
    sure: float = 1.0
    whole: float = 0.0
    reason: str | None = None


Measure = Callable[[tuple[str, ...]], Sequence[float]]
"""The names of changes → the logarithms of the ratios (the differences) that rounds of a duet gave. NightgateError: it failed."""


def bisect(
    file: Path, about: str, changes: dict[str, tuple[str | None, str | None]], measure: Measure
) -> tuple[Verdict, Search]:
    """Find the change that makes the shift.

    Args:
        file: where the search is kept; one that is there goes on, if it is of the same.
        about: what is searched, to tell.

    Raises:
        InputError: nothing changed. NightgateError: both ends could not be measured.
    """
    search = _begun(file, about, changes)
    if not changes:
        raise InputError(
            "nothing that was installed changed between the two runs", "see what else did: nightgate why RUN"
        )
    names, sure = tuple(changes), 1.0
    whole = _try(search, names, measure, file)
    if whole.error:
        raise InputError(
            f"the two ends cannot be measured: {whole.error}", "see that both environments still work on this host"
        )
    sign = 1.0 if whole.mean > 0 else -1.0
    size = abs(whole.mean)
    if _flipped(whole, sign).beyond(0.0) < 1 - (1 - _SURE) / 2:
        return Verdict(kind="nothing", whole=whole.mean, sure=_flipped(whole, sign).beyond(0.0)), search
    low, high, failed = 0, len(names), dict[int, str]()
    while high - low > 1:
        middle = _middle(low, high, failed)
        if middle is None:
            reason = next(iter(failed.values()))
            return Verdict(
                kind="inseparable", names=names[low:high], sure=sure, whole=whole.mean, reason=reason
            ), search
        one = _try(search, names[:middle], measure, file)
        if one.error:
            failed[middle] = one.error
            continue
        beyond = _flipped(one, sign).beyond(size / 2)
        low, high = (low, middle) if beyond > 0.5 else (middle, high)
        sure *= max(beyond, 1 - beyond)
    found = names[high - 1]
    alone, share = _try(search, (found,), measure, file), None
    if alone.error is None:
        share = sign * alone.mean / size
        sure *= _flipped(alone, sign).beyond(size / 2) if share > 0.5 else 1.0
    return Verdict(kind="found", names=(found,), share=share, sure=sure, whole=whole.mean), search


def _begun(file: Path, about: str, changes: dict[str, tuple[str | None, str | None]]) -> Search:
    fresh = Search(about=about, changes=changes)
    if not file.exists():
        return fresh
    kept = Search.model_validate_json(file.read_text())
    if kept.changes != changes:
        return fresh
    log.info("going on after %d duets: %s", len(kept.tried), file)
    return kept


def _try(search: Search, names: tuple[str, ...], measure: Measure, file: Path) -> Tried:
    if known := search.of(names):
        return known
    log.info("duet %d: with the new %s", len(search.tried) + 1, ", ".join(names))
    try:
        found = Tried(names=names, ratios=tuple(measure(names)))
    except NightgateError as error:
        found = Tried(names=names, error=str(error))
    search.tried.append(found)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_text(file, search.model_dump_json(indent=1))
    return found


def _flipped(one: Tried, sign: float) -> Tried:
    return one if sign > 0 else Tried(names=one.names, ratios=tuple(-ratio for ratio in one.ratios))


def _middle(low: int, high: int, failed: dict[int, str]) -> int | None:
    """The place nearest to the middle that can be measured."""
    places = [place for place in range(low + 1, high) if place not in failed]
    return min(places, key=lambda place: abs(place - (low + high) / 2), default=None)
