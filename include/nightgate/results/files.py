"""The files of a run: ``<runs_dir>/<run_id>/`` with one ``<benchmark>-<device>.json`` per measurement.

Beside them lie ``summary.json``, ``report.html`` and the raw samples (``<benchmark>-<device>.npz``, and
``…-confirm1.npz`` and so on of the confirming runs). Every file
appears under its name only when it is complete (temporary name, sync, rename), so that a killed task leaves none torn.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from nightgate.errors import ArtifactError, InputError, nearest
from nightgate.files import write_text
from nightgate.paths import run_dir, runs_dir
from nightgate.record import STORED, Device, Record, Summary

_BENCHMARK = re.compile(r"[a-z][a-z0-9_]*")
_NEWEST = 5

_Document = TypeVar("_Document", bound=BaseModel)


class _Records(BaseModel):
    model_config = ConfigDict(extra="forbid")

    schema_version: Literal[1] = 1
    run_id: str
    benchmark: str
    device: Device
    results: list[Record]


def write_records(run_id: str, benchmark: str, device: Device, records: Sequence[Record]) -> Path:
    """Write the records of one measurement, replacing those of an earlier try. Returns the file."""
    path = _measurement_path(run_id, benchmark, device, "json")
    document = _Records(run_id=run_id, benchmark=benchmark, device=device, results=list(records))
    return _write(path, document.model_dump_json(indent=1))


def read_records(run_id: str) -> list[Record]:
    """All records of a run, sorted by benchmark, device and variant; empty when none was written yet.

    Raises:
        InputError: there is no such run. ArtifactError: a file is torn or belongs to another run.
    """
    folder = _existing(run_id)
    records: list[Record] = []
    for path in sorted([*folder.glob("*-cpu.json"), *folder.glob("*-gpu.json")]):
        document = _read(path, _Records)
        if document.run_id != run_id or path.stem != f"{document.benchmark}-{document.device}":
            owner = f"{document.benchmark}-{document.device} of run {document.run_id}"
            raise ArtifactError(f"{path} holds the records of {owner}", "move it back to where it came from")
        records += document.results
    return sorted(records, key=lambda record: (record.benchmark, record.device, record.variant))


def write_summary(summary: Summary) -> Path:
    """Write ``summary.json``. Returns the file."""
    return _write(run_dir(summary.run_id) / "summary.json", summary.model_dump_json(indent=1))


def read_summary(run_id: str) -> Summary:
    """The summary of a finished run.

    Raises:
        InputError: there is no such run. ArtifactError: it has no summary yet, or one that is torn or foreign.
    """
    path = _existing(run_id) / "summary.json"
    if not path.exists():
        raise ArtifactError(
            f"run {run_id} has no summary.json", "it is still running or was ended early; look at its log"
        )
    summary = _read(path, Summary)
    if summary.run_id != run_id:
        raise ArtifactError(f"{path} is the summary of run {summary.run_id}", "move it back to where it came from")
    return summary


def write_report(run_id: str, html: str) -> Path:
    """Write ``report.html``. Returns the file."""
    return _write(report_path(run_id), html)


def write_note(run_id: str, markdown: str) -> Path:
    """Write ``summary.md``. Returns the file."""
    return _write(run_dir(run_id) / "summary.md", markdown)


def report_path(run_id: str) -> Path:
    return run_dir(run_id) / "report.html"


def samples_path(run_id: str, benchmark: str, device: Device, look: int = 0) -> Path:
    """Where the raw samples of one measurement go, or of the ``look``-th that confirms it; the folder exists afterwards."""
    path = _measurement_path(run_id, benchmark, f"{device}-confirm{look}" if look else device, "npz")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def forget_looks(run_id: str, benchmark: str, device: Device) -> None:
    """Remove the raw samples of what confirmed an earlier try of a measurement that is made anew."""
    for path in run_dir(run_id).glob(f"{benchmark}-{device}-confirm*.npz"):
        path.unlink(missing_ok=True)


def raw_of(run_id: str, benchmark: str, device: Device, look: int = 0) -> list[Path]:
    """The files that one measurement, or the ``look``-th that confirms it, left beside its records: samples, transcripts."""
    stem = samples_path(run_id, benchmark, device, look).stem
    found = (path for path in run_dir(run_id).glob(f"{stem}*") if path.suffix != ".json" and path.is_file())
    own = [path for path in found if path.name[len(stem)] in ".-"]
    return sorted(path for path in own if look or not path.name.startswith(f"{stem}-confirm"))


def newest_runs(limit: int | None = _NEWEST, since: datetime | None = None) -> list[str]:
    """The ids of the runs that have a folder, newest first; with ``since`` only of folders that changed after it."""
    try:
        folders = [entry for entry in os.scandir(runs_dir()) if entry.is_dir() and not entry.name.startswith(".")]
    except FileNotFoundError:
        return []
    if since:
        folders = [entry for entry in folders if entry.stat().st_mtime >= since.timestamp()]
    folders.sort(key=lambda entry: (entry.stat().st_mtime, entry.name), reverse=True)
    return [entry.name for entry in folders[:limit]]


def _measurement_path(run_id: str, benchmark: str, device: str, suffix: str) -> Path:
    if not _BENCHMARK.fullmatch(benchmark):
        raise InputError(f"benchmark {benchmark!r} cannot name a file", "use small letters, digits and _")
    return run_dir(run_id) / f"{benchmark}-{device}.{suffix}"


def _existing(run_id: str) -> Path:
    folder = run_dir(run_id)
    if not folder.is_dir():
        known = newest_runs(None)
        hint = f"the newest runs are {', '.join(known[:_NEWEST])}" if known else "start one with `nightgate run`"
        raise InputError(f"there is no run {run_id!r} in {runs_dir()}{nearest(run_id, known, 0.8)}", hint)
    return folder


def _read(path: Path, model: type[_Document]) -> _Document:
    try:
        return model.model_validate_json(path.read_bytes(), context=STORED)
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read ({error.strerror})") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        detail = f"{place}: {first['msg']}" if place else first["msg"]
        raise ArtifactError(
            f"{path} is torn or was not written by this version ({detail})", "run the benchmark again"
        ) from None


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text, sync=True)
    return path
