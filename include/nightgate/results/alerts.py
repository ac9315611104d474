"""What people are to be told of a suite: what went wrong, once, and when it is over, once.

What holds stands in the store from the run that showed it to the run that no longer did, so that neither a retry nor the next
night says it again, and nobody is told of what nobody could send.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from nightgate.results.store import Store

Kind = Literal["breach", "undecided", "regression"]
UNDECIDED_NIGHTS = 3
"""After so many an objective that is still undecided is told of."""


class Said(BaseModel):
    """What there is to say of one thing: a ``sentence``, what may be its ``causes``, the likeliest first, and what it was measured by."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    sentence: str
    causes: tuple[str, ...] = ()
    benchmark: str = ""
    variant: str = ""
    device: str = ""
    metric: str = ""
    ratio: float | None = None
    since: str | None = None


class News(BaseModel):
    """One thing that not everybody was told of yet. ``over``: that it holds no longer. ``told_by``: who has told of it."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    id: int
    kind: Kind
    over: bool
    run_id: str
    said: Said
    told_by: tuple[str, ...] = ()


_BEGIN = """
INSERT INTO nightgate.alerts (suite, kind, subject, run_id, said)
SELECT %(suite)s, %(kind)s, %(subject)s, %(run)s, %(said)s::jsonb WHERE NOT EXISTS (
    SELECT FROM nightgate.alerts
    WHERE suite = %(suite)s AND kind = %(kind)s AND subject = %(subject)s AND run_id = %(run)s
)
ON CONFLICT (suite, kind, subject) WHERE over_at IS NULL DO NOTHING
"""
_OVER = """
UPDATE nightgate.alerts SET over_run_id = %(run)s, over_at = clock_timestamp(),
    over_told_at = CASE WHEN %(known)s THEN clock_timestamp() END
WHERE suite = %(suite)s AND kind = ANY(%(kinds)s) AND subject = ANY(%(subjects)s) AND over_at IS NULL AND run_id <> %(run)s
AND NOT EXISTS (
    SELECT FROM nightgate.runs AS first, nightgate.runs AS this
    WHERE first.run_id = alerts.run_id AND this.run_id = %(run)s AND first.recorded_at > this.recorded_at
)
"""
# neither a night that is looked at again tells what it told, nor does an earlier one end what a later one began;
# what nobody was told of before it was over is no news any more; what is undecided no longer is told by what it became
_NEWS = """
SELECT id, kind, false, run_id, said, told_by FROM nightgate.alerts WHERE suite = %(suite)s AND told_at IS NULL AND over_at IS NULL
UNION ALL
SELECT id, kind, true, over_run_id, said, over_told_by FROM nightgate.alerts
WHERE suite = %(suite)s AND told_at IS NOT NULL AND over_at IS NOT NULL AND over_told_at IS NULL AND kind <> 'undecided'
ORDER BY 3, 2, 1
"""
_TOLD = "UPDATE nightgate.alerts SET told_at = clock_timestamp() WHERE id = ANY(%s) AND told_at IS NULL"
_OVER_TOLD = "UPDATE nightgate.alerts SET over_told_at = clock_timestamp() WHERE id = ANY(%s) AND over_told_at IS NULL"
_TOLD_BY = "UPDATE nightgate.alerts SET told_by = array_append(told_by, %s) WHERE id = ANY(%s)"
_OVER_TOLD_BY = "UPDATE nightgate.alerts SET over_told_by = array_append(over_told_by, %s) WHERE id = ANY(%s)"
_HOLDING = "SELECT kind, subject, run_id, said FROM nightgate.alerts WHERE suite = %s AND over_at IS NULL ORDER BY id"


_OF_SUBJECT = """
SELECT kind, run_id, said, over_run_id FROM nightgate.alerts WHERE suite = %s AND subject = %s ORDER BY id
"""


class Held(BaseModel):
    """What was wrong with a subject from the run ``run_id`` to ``over_run_id``; None while it still is."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    kind: Kind
    run_id: str
    said: Said
    over_run_id: str | None


def subject(series: str, scale: str, fingerprint: str) -> str:
    """What is wrong: a series at a scale on a host, for another scale or host says nothing of it."""
    return f"{series} {scale}@{fingerprint}"


def begin(store: Store, suite: str, run_id: str, kind: Kind, found: Mapping[str, Said]) -> None:
    """These subjects are wrong, by this run; those that already are, or were by this very run, stay as they are."""
    with store.writing() as connection, connection.cursor() as cursor:
        of = {"suite": suite, "kind": kind, "run": run_id}
        cursor.executemany(
            _BEGIN, [of | {"subject": name, "said": said.model_dump_json()} for name, said in found.items()]
        )


def end(
    store: Store, suite: str, run_id: str, kinds: Sequence[Kind], subjects: Iterable[str], *, known: bool = False
) -> None:
    """These subjects are not wrong any more, by this run.

    Args:
        known: nobody is to be told, for somebody has said so.
    """
    values = {"suite": suite, "run": run_id, "kinds": list(kinds), "subjects": list(subjects), "known": known}
    with store.writing() as connection:
        connection.execute(_OVER, values)


def news(store: Store, suite: str) -> list[News]:
    """What people were not told of yet, what began before what ended."""
    return [
        News(id=number, kind=kind, over=over, run_id=run_id, said=Said.model_validate(said), told_by=by)
        for number, kind, over, run_id, said, by in store.rows(_NEWS, {"suite": suite})
    ]


def told_by(store: Store, name: str, found: Sequence[News]) -> None:
    """Those whom ``name`` tells know of it now."""
    begun, ended = _ids(found)
    with store.writing() as connection:
        connection.execute(_TOLD_BY, (name, begun))
        connection.execute(_OVER_TOLD_BY, (name, ended))


def told(store: Store, found: Sequence[News]) -> None:
    """Everybody knows of it now."""
    begun, ended = _ids(found)
    with store.writing() as connection:
        connection.execute(_TOLD, (begun,))
        connection.execute(_OVER_TOLD, (ended,))


def _ids(found: Sequence[News]) -> tuple[list[int], list[int]]:
    """Of what began and of what is over."""
    return [one.id for one in found if not one.over], [one.id for one in found if one.over]


def holding(store: Store, suite: str) -> list[tuple[Kind, str, str, Said]]:
    """What is wrong right now: kind, subject, the run that showed it, and what there is to say."""
    return [
        (kind, subject, run_id, Said.model_validate(said))
        for kind, subject, run_id, said in store.rows(_HOLDING, (suite,))
    ]


def of_subject(store: Store, suite: str, subject: str) -> list[Held]:
    """All that was ever wrong with a subject, the oldest first."""
    return [
        Held(kind=kind, run_id=run_id, said=Said.model_validate(said), over_run_id=over)
        for kind, run_id, said, over in store.rows(_OF_SUBJECT, (suite, subject))
    ]
