"""Rows into a table by binary COPY: whole blocks as they go over the wire, in several streams at once.

A server spends one process on a stream and is the slower side, so a second one nearly doubles the rows per second.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TYPE_CHECKING

from nightgate.pgvector_search import server
from nightgate.vector_search.store import Address

if TYPE_CHECKING:
    import numpy as np
    from psycopg.sql import Composed, Identifier

log = logging.getLogger(__name__)

_ELEMENTS = {"vector": ">f4", "halfvec": ">f2"}
_MOST_STREAMS = 4
_BLOCK = 1000  # rows; at 256 dimensions a block of them stays in the cache of a core
_LOG_EVERY = 3.0
_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)  # signature, no flags, no header extension
_TRAILER = b"\xff\xff"


def element(column: str) -> str:
    """The numpy type in which a column of type ``column`` sends an element."""
    return _ELEMENTS[column]


def copy_rows(where: Address, target: Identifier, base: np.ndarray, column: str, name: str) -> None:
    """Copy ``base`` (rows, dim), float32, with its row numbers as ids into ``target`` (id int4, vec ``column``).

    Each stream has a session and a transaction of its own; when one fails, the others are ended, and what any has
    committed stays in the table. ``name`` is what the log calls it.

    Raises:
        as `server.session`.
    """
    from psycopg.sql import SQL

    statement = SQL("COPY {} (id, vec) FROM STDIN WITH (FORMAT binary)").format(target)
    streams = min(_MOST_STREAMS, os.cpu_count() or 1)
    edges = [number * len(base) // streams for number in range(streams + 1)]
    work = _Work(name, len(base))
    with ThreadPoolExecutor(streams) as pool:
        parts = [
            pool.submit(
                _stream,
                where,
                statement,
                base,
                range(edges[n], edges[n + 1], _BLOCK),
                edges[n + 1],
                element(column),
                work,
            )
            for n in range(streams)
        ]
        try:
            for part in as_completed(parts):
                part.result()
        except BaseException:
            work.over.set()
            raise


def _stream(
    where: Address, statement: Composed, base: np.ndarray, starts: range, end: int, element: str, work: _Work
) -> None:
    with (
        server.session(where, "load the table") as connection,
        connection.cursor() as cursor,
        cursor.copy(statement) as copy,
    ):
        copy.write(_HEADER)
        for start in starts:
            if work.over.is_set():
                raise InterruptedError("another stream failed")  # inside the COPY, which this takes back
            block = base[start : min(start + _BLOCK, end)]
            copy.write(encode_rows(start, block, element))
            work.done(len(block))
        copy.write(_TRAILER)


def encode_rows(first_id: int, vectors: np.ndarray, element: str) -> bytes:
    """The rows of ``COPY … (FORMAT binary)`` for consecutive ids, a whole block at once.

    Args:
        vectors: shape (n, dim).
        element: ``">f4"`` for the type vector, ``">f2"`` for halfvec; both send int16 dim, int16 unused, elements.
    """
    import numpy as np

    count, dim = vectors.shape
    row = np.dtype(
        [
            ("fields", ">i2"),
            ("id_size", ">i4"),
            ("id", ">i4"),
            ("vec_size", ">i4"),
            ("dim", ">i2"),
            ("unused", ">i2"),
            ("vec", element, (dim,)),
        ]
    )
    rows = np.zeros(count, dtype=row)
    rows["fields"], rows["id_size"], rows["dim"] = 2, 4, dim
    rows["id"] = np.arange(first_id, first_id + count)
    rows["vec_size"] = 4 + dim * np.dtype(element).itemsize
    rows["vec"] = vectors
    return rows.tobytes()


class _Work:
    """How far all streams are together: a log line every few seconds. ``over`` tells them to end."""

    def __init__(self, name: str, rows: int) -> None:
        self.name, self.rows, self.count = name, rows, 0
        self.over = threading.Event()
        self._lock = threading.Lock()
        self._start = self._last = time.monotonic()

    def done(self, rows: int) -> None:
        with self._lock:
            self.count += rows
            now = time.monotonic()
            if now - self._last < _LOG_EVERY and self.count < self.rows:
                return
            self._last = now
            rate = self.count / max(now - self._start, 1e-9)
            left = (self.rows - self.count) / rate
            log.info("%s: %d of %d rows loaded, %.0f rows/s, %.0f s left", self.name, self.count, self.rows, rate, left)
