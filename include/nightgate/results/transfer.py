"""Export and import of a store as JSON lines (`lines`): a run without its results, each result, each note, and what the watch knows.

What this version does not understand is refused with the number of its line, and then nothing is written.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from nightgate.errors import InputError
from nightgate.record import STORED, Record
from nightgate.results.lines import (
    ANY,
    EXPORT,
    RUN,
    AlertLine,
    BesideLine,
    EnvironmentLine,
    NoteLine,
    ResultLine,
    RunLine,
)

if TYPE_CHECKING:
    import psycopg

    from nightgate.results.store import Store

_UTC = "SET LOCAL TIME ZONE 'UTC'"  # so that two stores write a time alike

_STAGE = """
CREATE TEMPORARY TABLE incoming (
    number int NOT NULL, kind text NOT NULL, run_id text COLLATE "C" NOT NULL, benchmark text COLLATE "C",
    variant text COLLATE "C", device text COLLATE "C", status text, judged boolean, fingerprint text, suite text, line jsonb NOT NULL
) ON COMMIT DROP
"""
_COPY = """
COPY incoming (number, kind, run_id, benchmark, variant, device, status, judged, fingerprint, suite, line) FROM STDIN
"""
_TWICE = """
SELECT max(number) FROM incoming
GROUP BY kind, run_id, benchmark, variant, device, line->>'noted_at', line->>'metric', line->>'digest', line->>'alert', line->>'subject'
HAVING count(*) > 1 ORDER BY 1 LIMIT 1
"""
_WITHOUT_RUN = """
SELECT number, run_id FROM incoming AS own WHERE kind NOT IN ('run', 'environment')
  AND NOT EXISTS (SELECT FROM incoming WHERE kind = 'run' AND run_id = own.run_id AND number < own.number)
  AND NOT EXISTS (SELECT FROM nightgate.runs WHERE run_id = own.run_id) ORDER BY number LIMIT 1
"""
# of a run that is judged here, nothing may become another
_AGAINST = f"""
SELECT new.number, new.run_id FROM incoming AS new JOIN nightgate.runs AS own USING (run_id)
LEFT JOIN nightgate.results AS result ON new.kind = 'result'
    AND (result.run_id, result.benchmark, result.variant, result.device) = (new.run_id, new.benchmark, new.variant, new.device)
WHERE own.state IS NOT NULL AND (
    (new.kind = 'run' AND new.line - 'recorded_at' <> {RUN} - 'recorded_at')
    OR (new.kind = 'result' AND new.line->'record' IS DISTINCT FROM result.record))
ORDER BY new.number LIMIT 1
"""
_TAKE_RUNS = """
INSERT INTO nightgate.runs (run_id, dag_id, suite, scale, standing, overrides, state, finished_at, recorded_at, head)
SELECT run_id, line->>'dag_id', line->>'suite', line->>'scale', line->>'standing', nullif(line->'overrides', 'null'),
    line->>'state', (line->>'finished_at')::timestamptz, (line->>'recorded_at')::timestamptz, nullif(line->'head', 'null')
FROM incoming WHERE kind = 'run'
ON CONFLICT (run_id) DO UPDATE SET dag_id = excluded.dag_id, suite = excluded.suite, scale = excluded.scale, standing = excluded.standing,
    overrides = excluded.overrides, state = excluded.state, finished_at = excluded.finished_at, head = excluded.head
WHERE runs.state IS NULL
"""
_TAKE_RESULTS = """
INSERT INTO nightgate.results
    (run_id, suite, benchmark, variant, device, status, judged, fingerprint, measured_at, standing, record, dag_id)
SELECT new.run_id, new.suite, new.benchmark, new.variant, new.device, new.status, new.judged, new.fingerprint,
    (line->>'measured_at')::timestamptz, runs.standing, line->'record', runs.dag_id
FROM incoming AS new JOIN nightgate.runs USING (run_id) WHERE new.kind = 'result'
ON CONFLICT (run_id, benchmark, variant, device) DO UPDATE SET suite = excluded.suite, status = excluded.status, judged = excluded.judged,
    fingerprint = excluded.fingerprint, measured_at = excluded.measured_at, standing = excluded.standing, record = excluded.record,
    dag_id = excluded.dag_id
WHERE results.record <> excluded.record
"""
# what was withdrawn in either of two stores is withdrawn
_TAKE_NOTES = """
INSERT INTO nightgate.notes AS own
    (kind, run_id, benchmark, variant, device, reason, noted_by, noted_at, withdrawn_reason, withdrawn_by, withdrawn_at)
SELECT line->>'note', run_id, benchmark, variant, device, line->>'reason', line->>'noted_by', (line->>'noted_at')::timestamptz,
    line->>'withdrawn_reason', line->>'withdrawn_by', (line->>'withdrawn_at')::timestamptz
FROM incoming WHERE kind = 'note'
ON CONFLICT (run_id, kind, benchmark, variant, device, noted_at) DO UPDATE
SET withdrawn_reason = excluded.withdrawn_reason, withdrawn_by = excluded.withdrawn_by, withdrawn_at = excluded.withdrawn_at
WHERE own.withdrawn_at IS NULL
"""
# of what is held here already: what was told and what is over in either of two stores is so in both
_TAKE_ALERTS = (
    """
UPDATE nightgate.alerts AS own SET
    told_at = coalesce(own.told_at, (line->>'told_at')::timestamptz), over_run_id = coalesce(own.over_run_id, line->>'over_run_id'),
    over_at = coalesce(own.over_at, (line->>'over_at')::timestamptz),
    over_told_at = coalesce(own.over_told_at, (line->>'over_told_at')::timestamptz)
FROM incoming AS new WHERE new.kind = 'alert'
AND (own.suite, own.kind, own.subject, own.run_id) = (line->>'suite', line->>'alert', line->>'subject', new.run_id)
""",
    """
INSERT INTO nightgate.alerts (suite, kind, subject, run_id, said, began_at, told_at, told_by, over_run_id, over_at, over_told_at, over_told_by)
SELECT line->>'suite', line->>'alert', line->>'subject', new.run_id, line->'said', (line->>'began_at')::timestamptz,
    (line->>'told_at')::timestamptz, ARRAY(SELECT jsonb_array_elements_text(line->'told_by')), line->>'over_run_id',
    (line->>'over_at')::timestamptz, (line->>'over_told_at')::timestamptz, ARRAY(SELECT jsonb_array_elements_text(line->'over_told_by'))
FROM incoming AS new WHERE new.kind = 'alert' AND NOT EXISTS (
    SELECT FROM nightgate.alerts AS own
    WHERE (own.suite, own.kind, own.subject, own.run_id) = (line->>'suite', line->>'alert', line->>'subject', new.run_id))
ORDER BY number
ON CONFLICT (suite, kind, subject) WHERE over_at IS NULL DO NOTHING
""",
)
_TAKE_BESIDE = """
INSERT INTO nightgate.beside (run_id, benchmark, variant, device, metric, found, at)
SELECT run_id, benchmark, variant, device, line->>'metric', line->'found', (line->>'at')::timestamptz FROM incoming WHERE kind = 'beside'
ON CONFLICT DO NOTHING
"""
_TAKE_ENVIRONMENTS = """
INSERT INTO nightgate.environments (digest, lock, kept_at)
SELECT line->>'digest', line->'lock', (line->>'kept_at')::timestamptz FROM incoming WHERE kind = 'environment'
ON CONFLICT DO NOTHING
"""


@dataclass
class Taken:
    """How many lines of each kind an import read (``watched``: of what the watch knows). They may all have been there before."""

    runs: int = 0
    results: int = 0
    notes: int = 0
    watched: int = 0


def lines_of(store: Store) -> Iterator[str]:
    """Every line of the store, without its line end, in the order in which runs were first recorded."""
    if not store.rows("SELECT 1"):
        return
    with store.writing() as connection, connection.cursor("export") as cursor:
        connection.execute(_UTC)
        for (line,) in cursor.execute(EXPORT):
            yield line


def take(store: Store, lines: Iterable[bytes]) -> Taken:
    """Put exported lines into the store. Doing so again changes nothing.

    A run that is not judged here yet becomes as the lines have it.

    Raises:
        InputError: a line is not understood, contradicts the others, or would change a run that is judged here; its number
            is named, and nothing was written.
    """
    taken = Taken()
    with store.writing() as connection:
        connection.execute(_UTC)
        connection.execute(_STAGE)
        with connection.cursor() as cursor, cursor.copy(_COPY) as copy:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    copy.write_row(_row(number, line, taken))
        _check(connection)
        for statement in (_TAKE_RUNS, _TAKE_RESULTS, _TAKE_NOTES, _TAKE_BESIDE, *_TAKE_ALERTS, _TAKE_ENVIRONMENTS):
            connection.execute(statement)
    return taken


def _row(number: int, line: bytes, taken: Taken) -> tuple[Any, ...]:
    """What `_STAGE` holds of a line."""
    try:
        text = line.decode("utf-8-sig")
        if "\\u0000" in text:
            raise ValueError("a zero byte, which PostgreSQL cannot keep")
        read = ANY.validate_python(json.loads(text, parse_constant=_refused))
        return (number, read.kind, *_columns(read, taken), text)
    except ValueError as error:  # of the encoding, the JSON, the version or the values
        raise InputError(
            f"line {number} is not what this version exports ({_told(error)}); nothing was imported",
            "export it again, or import it with the Nightgate that wrote it or a newer one",
        ) from None


def _columns(
    read: RunLine | ResultLine | NoteLine | BesideLine | AlertLine | EnvironmentLine, taken: Taken
) -> tuple[Any, ...]:
    """The columns of `_STAGE` between the kind and the line."""
    match read:
        case RunLine():
            taken.runs += 1
            return (read.run_id, *[None] * 7)
        case NoteLine():
            taken.notes += 1
            return (read.run_id, read.benchmark, read.variant, read.device, *[None] * 4)
        case BesideLine():
            taken.watched += 1
            return (read.run_id, read.benchmark, read.variant, read.device, *[None] * 4)
        case AlertLine():
            taken.watched += 1
            return (read.run_id, *[None] * 7)
        case EnvironmentLine():
            taken.watched += 1
            return ("", *[None] * 7)
        case ResultLine():
            record = Record.model_validate(read.record, context=STORED)
            taken.results += 1
            return (
                read.run_id,
                record.benchmark,
                record.variant,
                record.device,
                record.status,
                bool(record.objectives),
                record.host.fingerprint if record.host else None,
                record.suite,
            )


def _told(error: ValueError) -> str:
    """What is wrong, without the value: a line is long."""
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(map(str, first["loc"]))
    return f"{place}: {first['msg']}" if place else first["msg"]


def _refused(word: str) -> None:
    raise ValueError(f"{word} is no number of JSON")


def _check(connection: psycopg.Connection) -> None:
    if found := connection.execute(_TWICE).fetchone():
        raise InputError(f"line {found[0]} says again what an earlier line says; nothing was imported", "remove one")
    if found := connection.execute(_WITHOUT_RUN).fetchone():
        raise InputError(
            f"line {found[0]} belongs to run {found[1]}, which neither the lines before it nor the store have; nothing was imported",
            "export the run as well",
        )
    if found := connection.execute(_AGAINST).fetchone():
        raise InputError(
            f"line {found[0]} would change run {found[1]}, which is judged in this store; nothing was imported",
            "remove what is of this run",
        )
