"""The results store: PostgreSQL through psycopg 3, a short connection per call or one for a whole ``with`` block.

The tables (`migrations`) hold each record whole, as jsonb, beside its key columns. Saving is an upsert by run id,
benchmark, variant and device, so that a task that is killed and runs again ends in the same state.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from nightgate.artifacts.counted import Counted
from nightgate.environments.lock import Lock
from nightgate.errors import InputError, ServiceUnavailable
from nightgate.record import STORED, SUITE, Device, Record, Standing, Summary, Verdict, utc_now
from nightgate.results import migrations, queries, run_files
from nightgate.results.noted import NOTES, Note, note_of

if TYPE_CHECKING:
    import psycopg

_CONNECT_TIMEOUT = "5"  # seconds; libpq wants text
_FORGET_AFTER = "30 days"  # a variant that left the suite leaves /metrics after this


@dataclass(frozen=True)
class Run:
    """One run as the board lists it. ``state`` and ``finished_at`` are None until it is judged; it was ``recorded_at`` first.

    The results come without their ``detail``, but for the digests of their data.
    """

    run_id: str
    dag_id: str
    scale: str
    state: Verdict | None
    started_at: str | None
    finished_at: str | None
    results: list[Record] = field(default_factory=list)
    standing: Standing = "ad-hoc"
    overrides: Mapping[str, object] | None = None
    recorded_at: datetime | None = None
    suite: str = SUITE


class Origin(NamedTuple):
    """At which scale a run measured, and of which DAG it is."""

    scale: str = ""
    dag_id: str = ""


@dataclass(frozen=True)
class Snapshot:
    """What /metrics shows, of the runs that count. Of each series of each DAG the newest ``measured`` record and the newest ``judged``
    one, with their runs, of which ``origins`` knows more. Of each DAG of a suite the run that was judged ``last``, and, by suite and DAG,
    when one passed last. ``regressed``: the labels of what the watch holds for slower or worse than before."""

    measured: list[tuple[str, Record]] = field(default_factory=list)
    judged: list[tuple[str, Record]] = field(default_factory=list)
    last: list[Run] = field(default_factory=list)
    succeeded_at: dict[tuple[str, str], str] = field(default_factory=dict)
    regressed: list[dict[str, str]] = field(default_factory=list)
    origins: dict[str, Origin] = field(default_factory=dict)


class Store:
    """The results of all runs.

    Every method raises `ServiceUnavailable` when the server does not answer or refuses, or when its tables are of a newer
    Nightgate; no message holds the password. Tables of an older one are renewed by whoever comes first. Reading a database
    without tables finds no runs.
    """

    def __init__(self, url: str) -> None:
        """Args: url: a ``postgresql://`` URI or a libpq ``key=value`` string. Raises InputError when it is neither."""
        import psycopg

        try:
            given = psycopg.conninfo.conninfo_to_dict(url)
        except psycopg.Error:  # its text may quote the whole url
            raise InputError(
                "the url of the results database is not valid", "write postgresql://user:password@host/db"
            ) from None
        self._parameters = {"connect_timeout": _CONNECT_TIMEOUT, "application_name": "nightgate", **given}
        self._held: psycopg.Connection | None = None

    def __enter__(self) -> Store:
        """Until the block ends, all calls share one connection."""
        self._held = self._connect()
        return self

    def __exit__(self, *_: object) -> None:
        if self._held:
            self._held.close()
            self._held = None

    def __repr__(self) -> str:
        return f"Store({self._place})"

    def migrate(self) -> None:
        """Make the tables where they are missing, and renew those of an older Nightgate."""
        with self.writing():
            pass

    def save_records(
        self,
        run_id: str,
        dag_id: str,
        scale: str,
        records: Sequence[Record],
        *,
        suite: str = SUITE,
        standing: Standing = "ad-hoc",
        overrides: Mapping[str, object] | None = None,
        raw: Sequence[Path] = (),
        anew: bool = False,
        environment: Lock | None = None,
    ) -> None:
        """Upsert the records of one measurement, and the files of its raw samples; the run appears with them.

        Args:
            environment: what was installed where they were measured.
            anew: they are of a new try, and all there is of it: what an earlier one left besides is no longer the run's.
        """
        with self.writing() as connection:
            connection.execute(queries.INSERT_RUN, (run_id, dag_id, suite, scale, standing, _json(overrides)))
            _put(connection, run_id, records, standing)
            if environment:
                connection.execute(queries.KEEP_ENVIRONMENT, (environment.digest, environment.model_dump_json()))
            if not records:
                return
            of = (records[0].benchmark, records[0].device)
            run_files.put(connection, run_id, raw, *of)
            if anew:
                _remove_others(connection, run_id, records, *of)
                if raw:  # what was measured keeps its samples until others take their place
                    run_files.remove_others(connection, run_id, raw, *of)

    def save_summary(self, summary: Summary, raw: Sequence[Path] = ()) -> None:
        """Upsert a judged run, with files of it. Its records become exactly those of the summary, and nothing of it is under way."""
        head = summary.model_dump_json(exclude={"results"})
        row = (
            summary.run_id,
            summary.dag_id,
            summary.suite,
            summary.scale,
            summary.standing,
            _json(summary.overrides),
            summary.state,
            summary.finished_at,
            head,
        )
        with self.writing() as connection:
            connection.execute(queries.UPSERT_RUN, row)
            connection.execute(queries.NOTHING_UNDER_WAY, (summary.run_id,))
            _put(connection, summary.run_id, summary.results, summary.standing)
            _remove_others(connection, summary.run_id, summary.results)
            run_files.put(connection, summary.run_id, raw)

    def records(self, run_id: str, benchmark: str, device: Device) -> list[Record]:
        """The records of one measurement, sorted by variant; none before they were saved."""
        rows = self.rows(queries.RECORDS, (run_id, benchmark, device))
        return [_read(record) for (record,) in rows]

    def earlier(self, run_id: str) -> list[Record]:
        """What earlier tries of a run's measurements found, oldest first, before a later try took their place."""
        rows = self.rows("SELECT record FROM nightgate.earlier WHERE run_id = %s ORDER BY kept_at", (run_id,))
        return [_read(record) for (record,) in rows]

    def environments(self, digests: Sequence[str]) -> dict[str, Lock]:
        """Those of ``digests`` that are known."""
        return {digest: Lock.model_validate(lock) for digest, lock in self.rows(queries.ENVIRONMENTS, (list(digests),))}

    def runs(self, limit: int = 30) -> list[Run]:
        """The newest runs, the ones not yet judged included, newest first."""
        return self._runs(queries.RUNS, (limit,))

    def run(self, run_id: str) -> Run | None:
        """One run, as `runs` has it; None if there is none."""
        return next(iter(self._runs(queries.RUN, (run_id,))), None)

    def beside(self, run: Run) -> tuple[str | None, str | None]:
        """The run before and the run after one, of its suite, scale and standing."""
        values = {"run": run.run_id, "suite": run.suite, "scale": run.scale, "standing": run.standing}
        ((before, after),) = self.rows(queries.BESIDE, values) or [(None, None)]
        return before, after

    def nights(self, limit: int = 30, *, brief: bool = False) -> list[Run]:
        """As `runs`, those that count, ``limit`` of each suite: its nights, or as long as it has none what stands in for one.

        Args:
            brief: without what was measured: the verdicts are enough for a list.
        """
        return self._runs(queries.NIGHTS, (limit,), brief=brief)

    def others(self, limit: int = 30, *, brief: bool = False) -> list[Run]:
        """As `runs`, those that do not count; ``brief`` as `nights`."""
        return self._runs(queries.OTHERS, (limit,), brief=brief)

    def counting(self, suite: str = SUITE) -> Standing:
        """What a run of a suite must stand for to count: ``stand-in`` until there is a night of it."""
        rows = self.rows(queries.COUNTING, (suite,))
        return rows[0][0] if rows else "stand-in"

    def summary(self, run_id: str) -> Summary | None:
        """The summary of a judged run, its results sorted by benchmark, device and variant; None if there is none."""
        heads = self.rows("SELECT head FROM nightgate.runs WHERE run_id = %s AND state IS NOT NULL", (run_id,))
        if not heads:
            return None
        rows = self.rows(queries.SUMMARY_RESULTS, (run_id,))
        return Summary.model_validate({**heads[0][0], "results": [record for (record,) in rows]}, context=STORED)

    def latest(self) -> Summary | None:
        """The judged run that finished last."""
        rows = self.rows(queries.LAST_FINISHED, ())
        return self.summary(rows[0][0]) if rows else None

    def snapshot(self) -> Snapshot:
        """What /metrics shows. Its cost grows with the number of series, not with the number of nights."""
        with self.together():
            rows = self.rows(queries.NEWEST, {"forget": _FORGET_AFTER})
            last = self.rows(queries.LAST_NIGHTS, ())
            succeeded = self.rows(queries.LAST_SUCCESSES, ())
            regressed = self.rows(queries.REGRESSED, {"forget": _FORGET_AFTER})
            runs = {run_id for measured, _, judged, _ in rows for run_id in (measured, judged) if run_id}
            origins = self.rows(queries.ORIGINS, (sorted(runs),))
        return Snapshot(
            measured=[(run_id, _read(record)) for run_id, record, _, _ in rows if record],
            judged=[(run_id, _read(record)) for _, _, run_id, record in rows if record],
            last=[_run(row, []) for row in last],
            succeeded_at={(suite, dag_id): at for suite, dag_id, at in succeeded},
            regressed=[labels for (labels,) in regressed],
            origins={run_id: Origin(scale, dag_id) for run_id, scale, dag_id in origins},
        )

    def save_cache(self, counted: Counted) -> None:
        """Upsert what a cache holds and has counted."""
        with self.writing() as connection:
            connection.execute(queries.UPSERT_CACHE, (counted.cache, counted.model_dump_json()))

    def caches(self) -> list[Counted]:
        """The caches of the hosts that measured lately, as each was last seen, sorted by host."""
        return [Counted.model_validate(row) for (row,) in self.rows(queries.CACHES, {"forget": _FORGET_AFTER})]

    def notes(self, runs: Iterable[str] | None = None, *, withdrawn: bool = False) -> list[Note]:
        """What people have said of results, oldest first; with ``runs`` only of these, and ``withdrawn`` also what no longer
        holds. See `notes.say` and `notes.take_back`."""
        values = {"withdrawn": withdrawn, "runs": None if runs is None else list(runs)}
        return [note_of(row) for row in self.rows(NOTES, values)]

    @property
    def _place(self) -> str:
        given = self._parameters
        return f"{given.get('host', 'localhost')}:{given.get('port', 5432)}/{given.get('dbname', '')}"

    def _runs(self, query: str, values: Sequence[object], *, brief: bool = False) -> list[Run]:
        heads = self.rows(query, values)
        results: dict[str, list[Record]] = {row[0]: [] for row in heads}
        for run_id, record in self.rows(queries.RUN_VERDICTS if brief else queries.RUN_RESULTS, (list(results),)):
            results[run_id].append(_read(record))
        return [_run(row, results[row[0]]) for row in heads]

    def rows(self, query: str, values: Sequence[object] | Mapping[str, object] = ()) -> list[tuple[Any, ...]]:
        """What a query finds; nothing where there are no tables."""
        with self._session() as connection:
            if not self._up_to_date(connection):
                return []
            with connection.transaction():
                return connection.execute(query, values).fetchall()

    @contextmanager
    def writing(self) -> Iterator[psycopg.Connection]:
        """A connection in a transaction, with all tables there; it is committed at the end."""
        with self._session() as connection:
            self._up_to_date(connection, make=True)
            with connection.transaction():
                yield connection

    @contextmanager
    def together(self) -> Iterator[None]:
        """Until the block ends, all calls share one connection."""
        with nullcontext() if self._held else self:
            yield

    def _up_to_date(self, connection: psycopg.Connection, *, make: bool = False) -> bool:
        """Renew the tables of an older Nightgate, and ``make`` them where there are none. Returns whether there are any.

        Raises:
            ServiceUnavailable: they are of a newer Nightgate, which may mean something else by them.
        """
        at = migrations.version(connection)
        if at > migrations.NEWEST:
            raise ServiceUnavailable(
                f"the tables of the results database at {self._place} have the version {at}, "
                f"and this Nightgate knows them up to {migrations.NEWEST}",
                "update Nightgate on this host",
            )
        if at < migrations.NEWEST and (at or make):
            with connection.transaction():
                migrations.migrate(connection)
            return True
        return bool(at)

    @contextmanager
    def _session(self) -> Iterator[psycopg.Connection]:
        """A connection, of its own unless one is held."""
        import psycopg

        connection = self._held or self._connect()
        try:
            yield connection
        except psycopg.Error as error:
            raise self._refused(error) from None
        finally:
            if connection is not self._held:
                connection.close()

    def _connect(self) -> psycopg.Connection:
        import psycopg

        try:
            address = psycopg.conninfo.make_conninfo("", **self._parameters)
            return psycopg.connect(address, autocommit=True)  # transactions are opened by hand
        except psycopg.Error as error:
            raise self._refused(error) from None

    def _refused(self, error: Exception) -> ServiceUnavailable:
        reason = " ".join(str(error).split())
        if password := self._parameters.get("password"):
            reason = reason.replace(str(password), "***")
        return ServiceUnavailable(
            f"the results database at {self._place} cannot be used: {reason}",
            "check that it runs and that the connection nightgate_results names it",
        )


def url_from_airflow(uri: str) -> str:
    """An Airflow connection URI as one that libpq accepts.

    ``postgres://``, ``postgresql+psycopg2://`` and the like become ``postgresql://``; of the query only what libpq
    knows stays (Airflow adds its own extras there).
    """
    from psycopg import pq

    parts = urlsplit(uri)
    if parts.scheme.partition("+")[0] not in ("postgres", "postgresql"):
        raise InputError(
            f"the results connection has the type {parts.scheme or 'none'!r}, not postgres",
            "set AIRFLOW_CONN_NIGHTGATE_RESULTS to postgres://user:password@host/db",
        )
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    extra = query.pop("__extra__", None)
    if extra:
        query |= {key: str(value) for key, value in json.loads(extra).items()}
    known = {option.keyword.decode() for option in pq.Conninfo.get_defaults()}
    kept = {key: value for key, value in query.items() if key in known}
    return urlunsplit(("postgresql", parts.netloc, parts.path, urlencode(kept), ""))


def _run(row: tuple[Any, ...], results: list[Record]) -> Run:
    run_id, dag_id, scale, state, started_at, finished_at, *others = row  # RUN_COLUMNS
    return Run(run_id, dag_id, scale, state, started_at, finished_at, results, *others)


def _remove_others(
    connection: psycopg.Connection,
    run_id: str,
    records: Sequence[Record],
    benchmark: str | None = None,
    device: str = "",
) -> None:
    """Remove the results of a run, or of one measurement of it, that are not among ``records``."""
    mine = {
        "benchmarks": [record.benchmark for record in records],
        "devices": [record.device for record in records],
        "variants": [record.variant for record in records],
    }
    connection.execute(queries.REMOVE_OTHERS, {"run": run_id, "benchmark": benchmark, "device": device, **mine})


def _json(values: Mapping[str, object] | None) -> str | None:
    return None if values is None else json.dumps(values)


def _read(record: object) -> Record:
    return Record.model_validate(record, context=STORED)


def _put(connection: psycopg.Connection, run_id: str, records: Sequence[Record], standing: Standing) -> None:
    rows = [
        (
            run_id,
            record.suite,
            record.benchmark,
            record.variant,
            record.device,
            record.status,
            bool(record.objectives),
            record.host.fingerprint if record.host else None,
            record.finished_at or record.started_at or utc_now(),
            standing,
            record.model_dump_json(),
            run_id,
        )
        for record in records
    ]
    with connection.cursor() as cursor:
        cursor.executemany(queries.UPSERT_RESULT, rows)
