"""The course of metrics over the nights of their series, as a board shows it: with what was disturbed, excluded or replaced.

A verdict looks at less of it, see `nightgate.results.past`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nightgate.facts import Noise
from nightgate.record import Metric, Objective, Record
from nightgate.results import queries
from nightgate.results.past import key_of, time_of, works_of
from nightgate.series import series_of

if TYPE_CHECKING:
    from nightgate.results.store import Store


@dataclass(frozen=True)
class Point:
    """One night of a series: what it measured of one metric, and what was judged of it.

    ``at`` is when it ended. ``disturbed``: why its speeds count for nothing. ``versions`` are those of what was measured.
    ``noise`` and ``revision`` are None where nobody asked for them.
    """

    run_id: str
    at: str
    metric: Metric | None
    objective: Objective | None
    disturbed: str | None
    versions: Mapping[str, str]
    noise: Noise | None = None
    revision: str | None = None


def courses(
    store: Store, asked: Sequence[tuple[Record, str]], scale: str, *, night: bool, most: int, facts: bool = False
) -> list[list[Point]]:
    """For each record and metric that is ``asked`` for the newest nights of its series up to that record, oldest first.

    Args:
        night: whether nights are wanted, or the runs that are none.
        most: of each series.
        facts: whether the state of the host and the revision are wanted, which takes longer.
    """
    wanted = {key_of(record): series_of(record, scale) for record, _ in asked}
    ends = {key_of(record): time_of(record) for record, _ in asked}
    rows = [
        {"place": place, "run_id": "", "night": night, "before": ends[key], **wanted[key]._asdict()}
        for place, key in enumerate(wanted)
    ]
    places = {key: place for place, key in enumerate(wanted)}
    with store.together():
        works = {row["place"]: row for row in works_of(store, rows, wanted)}
        each = [
            works[place] | {"place": number, "metric": metric, "facts": facts}
            for number, (record, metric) in enumerate(asked)
            if (place := places[key_of(record)]) in works
        ]
        found = store.rows(queries.COURSES, {"wanted": json.dumps(each), "most": most}) if each else []
    made: list[list[Point]] = [[] for _ in asked]
    for place, *columns in reversed(found):
        made[place].append(_point(*columns))
    return made


def _point(
    run_id: str,
    at: str,
    metric: Any,
    objective: Any,
    disturbed: str | None,
    versions: str | None,
    noise: Any,
    revision: str | None,
) -> Point:
    return Point(
        run_id,
        at,
        Metric.model_validate(metric) if metric else None,
        Objective.model_validate(objective) if objective else None,
        disturbed,
        json.loads(versions) if versions else {},
        Noise.model_validate(noise) if noise else None,
        revision,
    )
