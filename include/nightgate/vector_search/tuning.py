"""Find the cheapest setting that reaches a recall target, on queries that are not the measured ones."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nightgate.facts import Point
from nightgate.measure.clock import time_calls
from nightgate.vector_search.session import Encoded, Session, Setting
from nightgate.vectors import recall
from nightgate.vectors.truth import Truth

if TYPE_CHECKING:
    from nightgate.vectors.dataset import Dataset

log = logging.getLogger(__name__)

MARGIN = 0.02
"""How far above the target a setting must be on the tuning queries, so that the measured ones reach it as well."""

_AT_ONCE = 100  # queries, after which a setting that clearly falls short is left
_SURE = 3.3  # standard errors: so far off the mark is one such set of queries in two thousand


@dataclass(frozen=True)
class Tuning:
    """What is looked for: the cheapest setting whose recall reaches ``target`` + ``margin``, on at most ``queries`` of the
    tuning queries, each setting after ``warmup`` others. Settings are tried until the recall reaches ``whole_curve_to``
    as well, for the sake of the curve. ``give_up_early`` leaves one after a hundred queries that clearly falls short."""

    target: float
    margin: float
    queries: int
    warmup: int
    whole_curve_to: float = 0.0
    give_up_early: bool = False


@dataclass(frozen=True)
class Tuned:
    """``setting`` is the chosen one, ``reached`` whether it holds the target with its margin; ``curve`` is all that was
    tried, in that order."""

    setting: Setting
    reached: bool
    curve: list[Point]

    def shortfall(self, target: float) -> str | None:
        """A sentence that says by how much ``target`` is out of reach, or None."""
        if self.reached:
            return None
        best = max(point.recall for point in self.curve)
        return f"no setting reaches recall {target:g} with its margin: {_said(self.setting)} comes closest, with {best:.3f}"


def cheapest(
    settings: Sequence[Setting], measure: Callable[[Setting], Point], wanted: float, *, whole_curve_to: float = 0.0
) -> Tuned:
    """Try ``settings`` from the cheapest up; the first whose recall reaches ``wanted`` is chosen.

    The search stops there, or goes on until the recall reaches ``whole_curve_to``. When none reaches the target, the one
    with the best recall is chosen: the measurement then shows what is missing.
    """
    curve: list[Point] = []
    chosen: Setting | None = None
    for setting in settings:
        point = measure(setting)
        curve.append(point)
        log.info("tuning: %s gives recall %.3f", _said(setting), point.recall)
        if chosen is None and point.recall >= wanted:
            chosen = setting
        if chosen is not None and point.recall >= whole_curve_to:
            break
    if chosen is not None:
        return Tuned(chosen, True, curve)
    return Tuned(max(curve, key=lambda point: point.recall).setting, False, curve)


def tune(
    session: Session, queries: Encoded, warmup: Encoded, data: Dataset, truth: Truth, k: int, asked: Tuning
) -> Tuned:
    """The cheapest setting of ``session``, and the recall-latency curve up to it or beyond.

    Args:
        queries, warmup: encoded, of ``data``.
        truth: of the tuning queries.
    """
    wanted = asked.target + asked.margin
    some = queries[: asked.queries]

    def measure(setting: Setting) -> Point:
        session.tune(setting, warmup[0])
        for query in warmup[: asked.warmup]:
            session.search(query)
        return point_of(setting, session.search, some, data, truth, k, wanted if asked.give_up_early else None)

    return cheapest(session.settings, measure, wanted, whole_curve_to=asked.whole_curve_to)


def point_of(
    setting: Setting, search: Any, queries: Encoded, data: Dataset, truth: Truth, k: int, wanted: float | None
) -> Point:
    """Recall and latency of one setting: on all ``queries``, or on fewer when these show that it falls short of ``wanted``."""
    import numpy as np

    durations, reached = [], []
    step = len(queries) if wanted is None else _AT_ONCE
    for start in range(0, len(queries), step):
        part = slice(start, min(start + step, len(queries)))
        spent, found = time_calls(search, queries[part], passes=1)
        durations.append(spent[0])
        exact, asked = Truth(truth.ids[part]), data.exact("tuning")[part]
        reached.append(recall.per_query(found, exact, data.exact("base"), asked, k, data.metric))
        so_far = np.concatenate(reached)
        if wanted is not None and so_far.mean() + _SURE * so_far.std(ddof=1) / len(so_far) ** 0.5 < wanted:
            break
    seconds = np.concatenate(durations) / 1e9
    p50, p95 = (float(np.quantile(seconds, q, method="higher")) for q in (0.50, 0.95))
    return Point(setting=setting, recall=float(so_far.mean()), latency_p50=p50, latency_p95=p95, queries=len(so_far))


def _said(setting: Setting) -> str:
    return ", ".join(f"{name} {value}" for name, value in setting.items())
