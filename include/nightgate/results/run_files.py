"""The files of a run go into the store, so that they can be had on every host: raw samples, transcripts, the report."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from nightgate.results import queries

if TYPE_CHECKING:
    import psycopg


def put(
    connection: psycopg.Connection, run_id: str, paths: Iterable[Path], benchmark: str = "", device: str = ""
) -> None:
    """Upsert files under their names. ``benchmark`` and ``device``: of which measurement they are, empty of the whole run."""
    known: dict[str, str] = dict(connection.execute(queries.FILES, (run_id,)).fetchall())
    for path in paths:
        content = path.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        if known.get(path.name) != digest:
            values = (run_id, path.name, benchmark, device, digest, zlib.compress(content))
            connection.execute(queries.UPSERT_FILE, values)


def remove_others(
    connection: psycopg.Connection, run_id: str, paths: Iterable[Path], benchmark: str, device: str
) -> None:
    """Remove the files of one measurement that are not among ``paths``."""
    connection.execute(queries.REMOVE_FILES, (run_id, benchmark, device, [path.name for path in paths]))
