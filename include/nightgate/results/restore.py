"""The files of a run come back from the store; see `run_files`."""

from __future__ import annotations

import hashlib
import zlib
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from nightgate.errors import ArtifactError, InputError, nearest
from nightgate.files import sha256_of, whole
from nightgate.paths import run_dir
from nightgate.record import Device, Record
from nightgate.results import files, queries

if TYPE_CHECKING:
    from nightgate.results.store import Store

_NEWEST = 5


def restore(store: Store, run_id: str) -> Path:
    """Write the records, the summary, the report and the raw samples of a judged run into its folder; returns the folder.

    What lies there already and is the same stays; the rest is replaced.

    Raises:
        InputError: the store has no such run, or it is not judged yet.
        ServiceUnavailable: the store does not answer.
    """
    summary = store.summary(run_id)
    if summary is None:
        newest = [run.run_id for run in store.runs(_NEWEST) if run.state]
        hint = f"the newest are {', '.join(newest)}" if newest else "start one with `nightgate run`"
        raise InputError(f"the results store has no judged run {run_id!r}{nearest(run_id, newest, 0.8)}", hint)

    def measurement(record: Record) -> tuple[str, Device]:
        return record.benchmark, record.device

    for (benchmark, device), records in groupby(sorted(summary.results, key=measurement), measurement):
        files.write_records(run_id, benchmark, device, list(records))
    files.write_summary(summary)
    fetch(store, run_id)
    return run_dir(run_id)


def fetch(store: Store, run_id: str) -> list[str]:
    """Write the files of a run that its folder lacks, or has otherwise. Returns their names.

    Raises:
        ArtifactError: what the store has of one is torn.
        ServiceUnavailable: the store does not answer.
    """
    folder, written = run_dir(run_id), []
    with store.together():
        for name, digest in store.rows(queries.FILES, (run_id,)):
            path = folder / Path(name).name
            if path.is_file() and sha256_of(path) == digest:
                continue
            folder.mkdir(parents=True, exist_ok=True)
            with whole(path, sync=True) as file:
                file.write(read(store, run_id, name))
            written.append(path.name)
    return written


def read(store: Store, run_id: str, name: str) -> bytes:
    """The content of one file.

    Raises:
        ArtifactError: the store has none of this name, or it is torn.
    """
    rows = store.rows("SELECT content, sha256 FROM nightgate.files WHERE (run_id, name) = (%s, %s)", (run_id, name))
    if not rows:
        raise ArtifactError(f"the store has no file {name} of run {run_id}")
    try:
        content = zlib.decompress(rows[0][0])
    except zlib.error:
        content = b""
    if hashlib.sha256(content).hexdigest() != rows[0][1]:
        raise ArtifactError(f"the store's file {name} of run {run_id} is torn", "restore the database from its backup")
    return content
