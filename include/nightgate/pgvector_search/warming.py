"""Bring table and index into the server's memory, and say how much of what a query reads is still not there."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from nightgate.pgvector_search import plan, server
from nightgate.pgvector_search.tables import Table
from nightgate.pgvector_search.variants import encoded
from nightgate.vector_search.session import Facts

if TYPE_CHECKING:
    import numpy as np
    from psycopg import Connection

log = logging.getLogger(__name__)

_PATIENCE = 60.0
_AT_ONCE = 100  # fresh queries whose blocks are counted together
_WARM = 0.001  # of the blocks may still come from outside
_MOST = 20_000  # fresh queries
_LARGE_RING = "1000"  # from PostgreSQL 18 on the ring grows with it, so that a scan leaves more behind
_TREND = 5  # hundreds of queries


def warm(connection: Connection[Any], statement: str, table: Table, base: np.ndarray) -> Facts:
    """Ask for vectors of ``base`` (rows, dim), each once, until hardly a block comes from outside the server's memory,
    or as many as before.

    A query that was asked before finds what it read then, so only fresh ones tell how warm the rest of the index is.
    And many are needed where an index was not just built: pgvector reads a list through a small ring of buffers
    (``BAS_BULKREAD``), so that a scan leaves only part of it in memory. Where the extension pg_prewarm is there
    already, it reads the index first.

    Returns:
        ``by``: "pg_prewarm" or "queries"; ``queries``: how many were asked; ``blocks_hit`` and ``blocks_read`` per query
        of the last hundred, found in the server's memory and not.
    """
    server.change(connection, {"effective_io_concurrency": _LARGE_RING})
    by = _prewarm(connection, table)
    step = max(1, len(base) // _MOST)
    give_up = time.monotonic() + _PATIENCE
    reads: list[int] = []
    while True:
        start = len(reads) * _AT_ONCE * step
        some = encoded(table.kind.column, base[start : start + _AT_ONCE * step : step])
        counted = [plan.blocks(connection, statement, query) for query in some]
        hit, read = sum(hits for hits, _ in counted), sum(misses for _, misses in counted)
        reads.append(read)
        stays = len(reads) >= 2 * _TREND and sum(reads[-_TREND:]) > 0.9 * sum(reads[-2 * _TREND : -_TREND])
        if read <= _WARM * (hit + read) or stays or time.monotonic() > give_up or start + _AT_ONCE * step >= len(base):
            break
    connection.execute("RESET effective_io_concurrency")
    if read > _WARM * (hit + read):
        log.warning(
            "%s: %.1f %% of the blocks that a query reads come from outside shared_buffers",
            table.variant,
            100 * read / (hit + read),
        )
    return {"by": by, "queries": len(reads) * _AT_ONCE, "blocks_hit": hit / len(some), "blocks_read": read / len(some)}


def _prewarm(connection: Connection[Any], table: Table) -> str:
    """Read the index with pg_prewarm where that is there already (no extension but ``vector`` is ever created); returns
    what read it."""
    from psycopg import Error
    from psycopg.sql import SQL, Identifier

    schema = (
        "SELECT nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = extnamespace WHERE extname = 'pg_prewarm'"
    )
    row = connection.execute(schema).fetchone()
    if row is None:
        return "queries"
    index = table.index_identifier().as_string(connection)
    try:
        connection.execute(SQL("SELECT {}(to_regclass(%s))").format(Identifier(row[0], "pg_prewarm")), [index])
    except Error as error:
        log.info("pg_prewarm is refused (%s); warming by queries", error.diag.message_primary)
        return "queries"
    return "pg_prewarm"
