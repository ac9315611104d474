"""Rows into a table by binary COPY: whole blocks as they go over the wire, no row is handled by itself."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from psycopg import Connection
    from psycopg.sql import Identifier

log = logging.getLogger(__name__)

_ELEMENTS = {"vector": ">f4", "halfvec": ">f2"}
_BLOCK = 10_000
_LOG_EVERY = 3.0
_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)  # signature, no flags, no header extension
_TRAILER = b"\xff\xff"


def element(column: str) -> str:
    """The numpy type in which a column of type ``column`` sends an element."""
    return _ELEMENTS[column]


def copy_rows(connection: Connection[Any], target: Identifier, base: np.ndarray, column: str, name: str) -> None:
    """Copy ``base`` (rows, dim), float32, with its row numbers as ids into ``target`` (id int4, vec ``column``).

    The table must have been made in the transaction that is open: FREEZE needs that, and saves a VACUUM afterwards.
    ``name`` is what the log calls it.
    """
    from psycopg.sql import SQL

    statement = SQL("COPY {} (id, vec) FROM STDIN WITH (FORMAT binary, FREEZE)").format(target)
    progress = _Progress(name, len(base))
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.write(_HEADER)
        for start in range(0, len(base), _BLOCK):
            block = base[start : start + _BLOCK]
            copy.write(encode_rows(start, block, element(column)))
            progress.done(start + len(block))
        copy.write(_TRAILER)


def encode_rows(first_id: int, vectors: np.ndarray, element: str) -> bytes:
    """The rows of ``COPY … (FORMAT binary)`` for consecutive ids, a whole block at once.

    Args:
        vectors: shape (n, dim).
        element: ``">f4"`` for the type vector, ``">f2"`` for halfvec; both send int16 dim, int16 unused, elements.
    """
    import numpy as np

    count, dim = vectors.shape
    row = np.dtype([
        ("fields", ">i2"),
        ("id_size", ">i4"), ("id", ">i4"),
        ("vec_size", ">i4"), ("dim", ">i2"), ("unused", ">i2"), ("vec", element, (dim,)),
    ])  # fmt: skip
    rows = np.zeros(count, dtype=row)
    rows["fields"], rows["id_size"], rows["dim"] = 2, 4, dim
    rows["id"] = np.arange(first_id, first_id + count)
    rows["vec_size"] = 4 + dim * np.dtype(element).itemsize
    rows["vec"] = vectors
    return rows.tobytes()


class _Progress:
    """A log line every few seconds: rows, rows per second, time left."""

    def __init__(self, name: str, rows: int) -> None:
        self.name, self.rows = name, rows
        self.start = self.last = time.monotonic()

    def done(self, count: int) -> None:
        now = time.monotonic()
        if now - self.last < _LOG_EVERY and count < self.rows:
            return
        self.last = now
        rate = count / max(now - self.start, 1e-9)
        left = (self.rows - count) / rate
        log.info("%s: %d of %d rows loaded, %.0f rows/s, %.0f s left", self.name, count, self.rows, rate, left)
