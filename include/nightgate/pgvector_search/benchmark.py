"""The pgvector benchmark: how well and how fast PostgreSQL answers ``ORDER BY vec <=> $1 LIMIT 5``."""

from __future__ import annotations

import logging
import os
import tempfile
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nightgate.artifacts import Cache
from nightgate.errors import NightgateError, ServiceUnavailable, Unavailable
from nightgate.measure import host
from nightgate.measure.child import run_child
from nightgate.measure.samples import save
from nightgate.pgvector_search import address, baseline, server, tables
from nightgate.pgvector_search.evidence import Evidence, shortfall
from nightgate.pgvector_search.restart import restart
from nightgate.pgvector_search.settings import Settings
from nightgate.pgvector_search.variants import VARIANTS, over_float32
from nightgate.record import Device, Record, utc_now
from nightgate.vectors import data
from nightgate.vectors.dataset import MOST_TUNING, open_dataset
from nightgate.vectors.source import Synthetic

if TYPE_CHECKING:
    from psycopg import Connection

log = logging.getLogger(__name__)

NAME = "pgvector_search"
_SLOWEST_QUERY = 0.5  # seconds; a child slower than this on average is given up
_TUNING_OF_CONTROLS = 200
_TRIES = 5_000  # queries that tuning and warming ask at most


def prepare(settings: Settings, device: Device, cache: Cache) -> dict[str, Any]:
    """The data set, its exact neighbours, and a loaded and indexed table per variant; what stands is reused.

    Returns:
        ``vectors`` and ``truth`` (folders), ``data`` (facts), ``gated``: the variants that are, where one that the
        server lacks is replaced by the same index over float32, and ``absent``: variant → why it is not measured.

    Raises:
        Unavailable: ``device`` is "gpu", or there is no server (ServiceUnavailable when the settings require one).
        ServiceUnavailable: the server refuses, went away, has no pgvector, or this user may not create what is needed.
    """
    if device == "gpu":
        raise Unavailable("pgvector searches on the CPU", "measure it on the cpu device")
    with server.session("prepare the extension vector", required=settings.require_service) as connection:
        tables.lock(connection, shared=False)  # two runs that create the extension at once would collide
        server.ensure_extension(connection)
        gated, absent = _stand_ins(settings, connection)
    source = Synthetic(settings.rows, settings.dim, settings.queries, settings.seed)
    threads = os.cpu_count() or 1
    found = data.prepare(cache, source=source, threads=threads)
    truth = baseline.prepare(cache, found["vectors"], found["truth"], found["data"]["digest"], threads)
    prepared = {**found, "truth": truth, "gated": gated, "absent": absent}
    base = open_dataset(Path(prepared["vectors"])).base
    try:
        with server.session("load and index the table") as connection:
            tables.lock(connection, shared=False)
            for variant in _measured(settings, prepared):
                tables.ensure(connection, _table(settings, prepared, variant), base)
    except BaseException:
        _tidy_up(tables.drop_drafts)
        raise
    return prepared


def measure(settings: Settings, device: Device, prepared: dict[str, Any], samples: Path) -> list[Record]:
    """One record per variant. A variant that fails is recorded as failed, and the next one is measured.

    A table that another run dropped in the meantime is loaded again. Tables that are not kept are removed at the end.

    ``samples`` gets, per variant: durations_ns, int64, (passes, queries); recall, float64, (queries,); ids, int64,
    (queries, 5); of gated ones open_loop_ns, int64, (queries served,).
    """
    found = [
        Evidence(_record(settings, device, prepared, variant, samples)) for variant in _measured(settings, prepared)
    ]
    try:
        for one in found:
            one.attempt(partial(_measure_one, settings, prepared))
            one.finish()
        for one in found:
            if one.gated and address.embedded():
                one.attempt(partial(_cold_start, settings, prepared))
    finally:
        if not settings.keeps:
            _tidy_up(tables.remove)
    records = [one.record for one in found]
    for record in records:
        if record.status == "measured":
            record.reason = record.reason or shortfall(record, records)
    arrays = {f"{one.variant}/{name}": array for one in found for name, array in one.samples.items()}
    if arrays:
        save(samples, arrays)
    return [*records, *_absent(settings, device, prepared)]


def _stand_ins(settings: Settings, connection: Connection[Any]) -> tuple[list[str], dict[str, str]]:
    """The gated variants as this server can have them, and why each of the others is absent."""
    gated: list[str] = []
    absent: dict[str, str] = {}
    for variant in (*settings.variants, *settings.controls):
        missing = server.lacks(connection, VARIANTS[variant])
        if missing is None:
            gated += [variant] if variant in settings.variants else []
            continue
        absent[variant] = missing
        instead = over_float32(variant)
        if variant in settings.variants:
            if server.lacks(connection, VARIANTS[instead]) is None:
                absent[variant] += f", so {instead}, the same index over float32, is gated instead"
                log.warning("%s", absent[variant])
            gated.append(instead)
    return list(dict.fromkeys(gated)), absent


def _measured(settings: Settings, prepared: dict[str, Any]) -> list[str]:
    wanted = dict.fromkeys([*prepared["gated"], *settings.controls])
    return [variant for variant in wanted if variant not in prepared["absent"]]


def _table(settings: Settings, prepared: dict[str, Any], variant: str) -> tables.Table:
    return tables.Table(variant, prepared["data"]["digest"], settings.lists)


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
    """Everything about one variant but the cold start, while nobody else can load into the schema."""
    table = _table(settings, prepared, one.variant)
    with server.session("hold the tables") as connection:
        tables.lock(connection, shared=False)
        one.build = tables.ensure(connection, table, open_dataset(Path(prepared["vectors"])).base)
        tables.share_lock(connection)
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
            tables.remember(connection, table, one.build | {"tuning": kept})
        if one.gated and settings.load_seconds:
            _under_load(settings, prepared, one)


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


def _under_load(settings: Settings, prepared: dict[str, Any], one: Evidence) -> None:
    import numpy as np

    timeout = 120 + 10 * settings.load_seconds * (1 + len(settings.clients))
    asked = {"rate": settings.arrival_rate, "seconds": settings.load_seconds}
    setting = {"setting": one.record.detail["setting"]}
    with tempfile.TemporaryDirectory(prefix="nightgate-pgvector-") as folder:
        answer = _child(
            "open_loop_latency", settings, prepared, one, asked | setting | {"folder": folder}, timeout
        )  # fmt: skip
        one.add_open_loop(answer, np.load(Path(folder, "latencies.npy")), **asked)
    request = setting | {"clients": settings.clients, "seconds": settings.load_seconds}
    one.add_clients(_child("many_clients", settings, prepared, one, request, timeout)["sweep"])


def _cold_start(settings: Settings, prepared: dict[str, Any], one: Evidence) -> None:
    """The first queries after a restart: the server's own memory is empty, the files are still in the system's."""
    with server.session("be restarted") as connection:
        if not tables.try_lock(connection):
            one.record.detail["cold_start"] = "not measured: another run uses the server"
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
    return run_child(f"nightgate.pgvector_search.timed:{function}", request, threads=1, timeout=timeout).value


def _tidy_up(step: Any) -> None:
    """Leave nothing of ours on the server, if it is still there and no other run uses our tables."""
    with suppress(NightgateError):
        try:
            with server.session("remove our tables") as connection:
                if tables.try_lock(connection):
                    step(connection)
                else:
                    log.info("another run uses the tables; it removes them")
        except ServiceUnavailable as error:
            log.warning("tables of ours may be left in the schema %s (%s)", tables.SCHEMA, error)
