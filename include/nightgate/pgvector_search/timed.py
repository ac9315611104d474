"""What runs in the child process: one session that tunes, proves its plan and times every query alone."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nightgate.errors import NotMeasured
from nightgate.measure.clock import time_calls
from nightgate.pgvector_search import loading, plan, server
from nightgate.pgvector_search.settings import K
from nightgate.vectors import recall, truth, tuning
from nightgate.vectors.dataset import open_dataset

if TYPE_CHECKING:
    import numpy as np
    from psycopg import Connection

log = logging.getLogger(__name__)

_PROBES = (1, 2, 3, 4, 5, 6, 8, 10, 15, 20)
_SESSION = {
    "max_parallel_workers_per_gather": "0",  # otherwise a parallel scan of the whole table looks cheaper than the index
    "jit": "off",
}


def search(request: dict[str, Any]) -> dict[str, Any]:
    """Find the probes, check the plan, then time each query alone, ``passes`` times over.

    Saves ``durations`` (int64 ns, (passes, queries)), ``ids`` (int64, (queries, 5), -1 where an answer is missing)
    and ``recall`` (float64, (queries,)) as ``.npy`` in ``request["folder"]``. The server comes from ``PGVECTOR_URL``.

    Returns:
        ``probes``, ``tuning_reached_target``, ``tuning`` (the curve), ``statement``, ``plan``, ``planner_chose_index``
        (else sequential scans were forbidden), ``session`` (what was set), ``settings`` and ``versions`` of the server,
        ``notices``.

    Raises:
        NotMeasured: the table is not what it should be, or the plan is not an index scan.
        ServiceUnavailable: the server is gone.
    """
    data = open_dataset(Path(request["vectors"]))
    tuning_truth, exact = (truth.open_truth(Path(request["truth"]), name) for name in ("tuning", "queries"))
    table = loading.Table(request["variant"], request["digest"], request["lists"])
    with server.session("answer the queries") as connection:
        notices = server.collect_notices(connection)
        loading.lock(connection, shared=True)
        changed = _set_up(connection)
        _read(connection, table, len(data.base))
        queries, tuned_on, warmup = _parameters(connection, table, data.queries, data.tuning, data.warmup)
        statement = f"SELECT id FROM {table.identifier().as_string(connection)} ORDER BY vec <=> %b LIMIT {K}"
        ask = _asker(connection, statement)
        chosen = {}

        def use(probes: int) -> None:
            connection.execute("SELECT set_config('ivfflat.probes', %s, false)", [str(probes)])
            chosen[probes] = plan.require_index(connection, statement, warmup[0], table.index)

        def recall_at(probes: int) -> dict[str, float]:
            use(probes)
            found = [ask(vector) for vector in tuned_on]
            reached = recall.per_query(found, tuning_truth, data.base, data.tuning, K, data.metric)
            return {"recall": float(reached.mean())}

        candidates = sorted({min(probes, table.lists) for probes in _PROBES})
        target = request["recall_target"]
        tuned = tuning.cheapest(candidates, recall_at, target, _margin(target, len(queries)))
        use(tuned.setting)
        log.info("%s: timing %d queries, %d passes", table.variant, len(queries), request["passes"])
        durations, found = time_calls(ask, queries, passes=request["passes"], warmup=warmup)
        prepared = statement.replace("%b", "$1")
        proof = plan.evidence(connection, prepared, queries[0], table.index)
        versions, settings = server.versions(connection), server.settings(connection)
    reached = recall.per_query(found, exact, data.base, data.queries, K, data.metric)
    _save(Path(request["folder"]), durations=durations, ids=_rectangle(found), recall=reached)
    return {
        "probes": tuned.setting, "tuning_reached_target": tuned.reached, "tuning": tuned.curve,
        "statement": prepared, "plan": proof, "planner_chose_index": all(chosen.values()),
        "session": changed, "settings": settings, "versions": versions, "notices": notices,
    }  # fmt: skip


def _margin(target: float, queries: int) -> float:
    """How far above ``target`` the tuning must be for the whole 95 % interval of the measured recall to clear it.

    Recall@5 spreads by about 0.18 between queries near 0.9, which makes the half-width 1.96 x 0.18 / sqrt(queries);
    twice that, because the measured mean itself scatters. Never more than half of what is left to 1.
    """
    return min(0.7 / queries**0.5, (1 - target) / 2)


def _set_up(connection: Connection[Any]) -> dict[str, str]:
    """Change the session as declared; returns what was changed. A server that refuses a setting keeps its own value."""
    from psycopg import DataError, ProgrammingError

    changed = {}
    for name, value in _SESSION.items():
        try:
            connection.execute("SELECT set_config(%s, %s, false)", [name, value])
        except (DataError, ProgrammingError) as error:
            log.info("the server refuses %s=%s (%s)", name, value, error.diag.message_primary)
        else:
            changed[name] = value
    return changed


def _read(connection: Connection[Any], table: loading.Table, rows: int) -> None:
    """Read the whole table once: it is in memory then, and known to hold every row."""
    from psycopg.sql import SQL

    row = connection.execute(SQL("SELECT count(*) FROM {}").format(table.identifier())).fetchone()
    if row is None or row[0] != rows:
        raise NotMeasured(
            f"the table {table.name} holds {row and row[0]} rows, not {rows}", "prepare the benchmark again"
        )


def _parameters(connection: Connection[Any], table: loading.Table, *query_sets: np.ndarray) -> list[list[Any]]:
    """The query sets as the parameters psycopg sends in binary; converting an array is not part of a query's time."""
    from pgvector import HalfVector, Vector
    from pgvector.psycopg import register_vector

    register_vector(connection)
    wrap = HalfVector if table.vector_type == "halfvec" else Vector
    return [[wrap(query) for query in queries] for queries in query_sets]


def _asker(connection: Connection[Any], statement: str) -> Callable[[Any], list[int]]:
    """One query: its parameter goes out and its ids come back, both binary, through a prepared statement."""
    from psycopg.rows import scalar_row

    cursor = connection.cursor(binary=True, row_factory=scalar_row)
    return lambda vector: cursor.execute(statement, (vector,), prepare=True).fetchall()


def _rectangle(found: list[list[int]]) -> np.ndarray:
    import numpy as np

    return np.array([[*ids, *[-1] * (K - len(ids))] for ids in found], dtype=np.int64)


def _save(folder: Path, **arrays: np.ndarray) -> None:
    import numpy as np

    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
