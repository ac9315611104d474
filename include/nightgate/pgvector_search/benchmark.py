"""The pgvector benchmark: how well and how fast PostgreSQL answers ``ORDER BY vec <=> $1 LIMIT 5``."""

from __future__ import annotations

import logging
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from nightgate.errors import NotMeasured
from nightgate.measure import host
from nightgate.measure.child import run_child
from nightgate.measure.samples import save
from nightgate.pgvector_search import address, ending, locks, server, tables
from nightgate.pgvector_search.evidence import Evidence, shortfall
from nightgate.pgvector_search.preparing import measured, prepare, table_of, tidy, tidy_up
from nightgate.pgvector_search.restart import restart
from nightgate.pgvector_search.settings import Settings
from nightgate.record import Device, Record, utc_now
from nightgate.vectors.dataset import MOST_TUNING, open_dataset

log = logging.getLogger(__name__)

__all__ = ["NAME", "measure", "prepare", "tidy"]

NAME = "pgvector_search"
_SLOWEST_QUERY = 0.5  # seconds; a child slower than this on average is given up
_TUNING_OF_CONTROLS = 200
_TRIES = 5_000  # queries that tuning and warming ask at most


def measure(settings: Settings, device: Device, prepared: dict[str, Any], samples: Path) -> list[Record]:
    """One record per variant. A variant that fails is recorded as failed, and the next one is measured.

    A table that another run dropped in the meantime is loaded again. Tables that are not kept are removed at the end.

    ``samples`` gets, per variant: durations_ns, int64, (passes, queries); recall, float64, (queries,); ids, int64,
    (queries, 5); of gated ones open_loop_ns, int64, (queries served,).
    """
    found = [
        Evidence(_record(settings, device, prepared, variant, samples)) for variant in measured(settings, prepared)
    ]
    with ending.like_ctrl_c():
        try:
            for one in found:
                one.attempt(partial(_measure_one, settings, prepared))
                one.finish()
            for one in found:
                if one.gated and address.embedded():
                    one.aside("cold_start", partial(_cold_start, settings, prepared, one))
        finally:
            if not settings.keeps:
                tidy_up(tables.remove)
    records = [one.record for one in found]
    for record in records:
        if record.status == "measured":
            record.reason = record.reason or shortfall(record, records)
    arrays = {f"{one.variant}/{name}": array for one in found for name, array in one.samples.items()}
    if arrays:
        save(samples, arrays)
    return [*records, *_absent(settings, device, prepared)]


def _record(settings: Settings, device: Device, prepared: dict[str, Any], variant: str, samples: Path) -> Record:
    return Record(
        benchmark=NAME, variant=variant, device=device, status="measured", samples=samples.name,
        host=host.describe(), settings=settings.model_dump(mode="json") | {"variants": prepared["gated"]},
        started_at=utc_now(), detail={"data": prepared["data"], "recall_target": settings.recall_target},
    )  # fmt: skip


def _absent(settings: Settings, device: Device, prepared: dict[str, Any]) -> list[Record]:
    """A record for what the server lacks; what an objective gates must not go missing quietly."""
    records = []
    for variant, reason in prepared["absent"].items():
        record = _record(settings, device, prepared, variant, Path("none"))
        record.status, record.reason = "failed" if record.gated else "skipped", reason
        record.samples, record.finished_at = None, record.started_at
        records.append(record)
    return records


def _measure_one(settings: Settings, prepared: dict[str, Any], one: Evidence) -> None:
    """Everything about one variant but the cold start, while nobody else can load into the schema. Once it is timed,
    nothing that follows can fail it."""
    if reason := prepared["failed"].get(one.variant):
        raise NotMeasured(f"its table could not be prepared: {reason}")
    table = table_of(settings, prepared, one.variant)
    with server.session("hold the tables") as connection:
        locks.wait(connection, shared=False)
        one.build = tables.ensure(connection, table, open_dataset(Path(prepared["vectors"])).base)
        locks.share(connection)
        one.record.detail["build"] = {key: value for key, value in one.build.items() if key != "tuning"}
        asked = {
            "recall_target": settings.recall_target, "recall_margin": settings.recall_margin,
            "host": host.describe().fingerprint,
        }  # fmt: skip
        known = one.build.get("tuning", {})
        setting = known["setting"] if known.get("asked") == asked else None
        answer = _one_by_one(settings, prepared, one, asked | {"setting": setting})
        if answer["tuned"]:
            kept = {"asked": asked, "setting": answer["setting"], **answer["tuned"]}
            one.aside("tuning_kept", partial(tables.remember, connection, table, one.build | {"tuning": kept}))
        if one.gated and settings.load_seconds:
            one.aside("open_loop", partial(_open_loop, settings, prepared, one))
            one.aside("throughput", partial(_clients, settings, prepared, one))


def _one_by_one(settings: Settings, prepared: dict[str, Any], one: Evidence, request: dict[str, Any]) -> dict[str, Any]:
    """Time every query alone in a fresh process."""
    import numpy as np

    passes = settings.passes if one.gated else settings.control_passes
    with tempfile.TemporaryDirectory(prefix="nightgate-pgvector-") as folder:
        request = request | {
            "folder": folder, "truth": prepared["truth"], "passes": passes,
            "tuning_queries": MOST_TUNING if one.gated else _TUNING_OF_CONTROLS,
        }  # fmt: skip
        timeout = 600 + _SLOWEST_QUERY * (settings.queries * passes + _TRIES)
        answer = _child("search", settings, prepared, one, request, timeout)
        durations, recall, ids = (np.load(Path(folder, f"{name}.npy")) for name in ("durations", "recall", "ids"))
    one.add_one_by_one(dict(answer), durations, recall, ids)
    return answer


def _open_loop(settings: Settings, prepared: dict[str, Any], one: Evidence) -> None:
    import numpy as np

    asked = {"rate": settings.arrival_rate, "seconds": settings.load_seconds}
    with tempfile.TemporaryDirectory(prefix="nightgate-pgvector-") as folder:
        request = asked | {"setting": one.record.detail["setting"], "folder": folder}
        answer = _child("open_loop_latency", settings, prepared, one, request, _load_timeout(settings))
        one.add_open_loop(answer, np.load(Path(folder, "latencies.npy")), **asked)


def _clients(settings: Settings, prepared: dict[str, Any], one: Evidence) -> None:
    request = {
        "setting": one.record.detail["setting"], "clients": settings.clients, "seconds": settings.load_seconds,
    }  # fmt: skip
    answer = _child("many_clients", settings, prepared, one, request, _load_timeout(settings))
    if answer["sweep"]:
        one.add_clients(answer["sweep"])
    if answer["failed"]:
        one.note("clients", answer["failed"])


def _load_timeout(settings: Settings) -> float:
    return 120 + 10 * settings.load_seconds * (1 + len(settings.clients))


def _cold_start(settings: Settings, prepared: dict[str, Any], one: Evidence) -> None:
    """The first queries after a restart: the server's own memory is empty, the files are still in the system's."""
    with server.session("be restarted") as connection:
        if not locks.take(connection):
            one.note("cold_start", "another run uses the server")
            return
        log.info("%s: restarting the embedded server for a cold start", one.variant)
        restart(connection)
    answer = _child("cold_start", settings, prepared, one, {"setting": one.record.detail["setting"]}, 300)
    one.add_cold_start(answer["durations_ns"])


def _child(
    function: str, settings: Settings, prepared: dict[str, Any], one: Evidence, request: dict[str, Any], timeout: float
) -> dict[str, Any]:
    request = request | {
        "variant": one.variant, "digest": prepared["data"]["digest"], "lists": settings.lists,
        "vectors": prepared["vectors"],
    }  # fmt: skip
    return run_child(
        f"nightgate.pgvector_search.timed:{function}", request, threads=1, timeout=timeout, keep=address.VARIABLES
    ).value
