"""The pgvector benchmark: how well and how fast PostgreSQL answers ``ORDER BY vec <=> $1 LIMIT 5``."""

from __future__ import annotations

import logging
import os
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nightgate.artifacts import Cache
from nightgate.errors import NightgateError, Unavailable
from nightgate.measure import estimates, host
from nightgate.measure.child import run_child
from nightgate.measure.samples import save
from nightgate.pgvector_search import loading, server
from nightgate.pgvector_search.settings import Settings
from nightgate.record import Device, Record, utc_now
from nightgate.vectors import data
from nightgate.vectors.dataset import open_dataset
from nightgate.vectors.source import Synthetic

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger(__name__)

NAME = "pgvector_search"
_LATENCIES = (("latency_p50", 0.50), ("latency_p95", 0.95), ("latency_p99", 0.99))
_BUILD = ("load_seconds", "rows_per_second", "build_seconds", "index_bytes")
_SLOWEST_QUERY = 0.5  # seconds; a child slower than this on average is given up


def prepare(settings: Settings, device: Device, cache: Cache) -> dict[str, Any]:
    """The data set, its ground truth, and a loaded and indexed table per variant; what stands is reused.

    Returns:
        ``vectors`` and ``truth`` (folders), ``digest`` of the data set, and ``tables``: the facts of each variant's
        build, or ``{"skipped": reason}``.

    Raises:
        Unavailable: ``device`` is "gpu", or there is no server (ServiceUnavailable when the settings require one).
        ServiceUnavailable: the server went away, has no pgvector, or this user may not create what is needed.
    """
    if device == "gpu":
        raise Unavailable("pgvector searches on the CPU", "measure it on the cpu device")
    with server.session("prepare the extension vector", required=settings.require_service) as connection:
        loading.lock(connection, shared=False)  # two runs that create the extension at once would collide
        server.ensure_extension(connection)
    source = Synthetic(settings.rows, settings.dim, settings.queries, settings.seed)
    sources = data.prepare(cache, source=source, threads=os.cpu_count() or 1)
    base = open_dataset(Path(sources["vectors"])).base
    digest = Path(sources["vectors"]).name
    tables = {}
    with server.session("load and index the table") as connection:
        loading.lock(connection, shared=False)
        for variant in (*settings.variants, *settings.controls):
            if variant == "ivfflat_halfvec" and not server.has_halfvec(connection):
                tables[variant] = {"skipped": "this pgvector has no halfvec, which came with 0.7; gate ivfflat"}
                continue
            table = loading.Table(variant, digest, settings.lists)
            tables[variant] = loading.ensure(connection, table, base)
    return {**sources, "digest": digest, "tables": tables}


def measure(settings: Settings, device: Device, prepared: dict[str, Any], samples: Path) -> list[Record]:
    """One record per variant. A variant that fails is recorded as failed, and the next one is measured.

    ``samples`` gets ``<variant>/durations_ns`` (int64, (passes, queries)), ``<variant>/recall`` (float64, (queries,))
    and ``<variant>/ids`` (int64, (queries, 5)).
    """
    records: list[Record] = []
    arrays: dict[str, np.ndarray] = {}
    for variant in (*settings.variants, *settings.controls):
        record = Record(
            benchmark=NAME, variant=variant, device=device, status="measured", host=host.describe(),
            settings=settings.model_dump(mode="json"), started_at=utc_now(),
        )  # fmt: skip
        table = prepared["tables"][variant]
        if "skipped" in table:
            # what an objective gates must not go missing quietly
            record.status = "failed" if variant in settings.variants else "skipped"
            record.reason = table["skipped"]
        else:
            try:
                found = _search(settings, record, prepared)
            except NightgateError as error:
                log.warning("%s/%s: %s", NAME, variant, error)
                record.status, record.reason = "failed", str(error)
            else:
                _estimate(record, found["durations"], found["recall"], table)
                record.samples = samples.name
                names = {"durations_ns": "durations", "recall": "recall", "ids": "ids"}
                arrays |= {f"{variant}/{name}": found[saved] for name, saved in names.items()}
        record.finished_at = utc_now()
        records.append(record)
    if arrays:
        save(samples, arrays)
    return records


def _search(settings: Settings, record: Record, prepared: dict[str, Any]) -> dict[str, np.ndarray]:
    """Time one variant in a process of its own; fills in ``record.detail``, returns the arrays the child saved."""
    import numpy as np

    request = {
        "variant": record.variant, "digest": prepared["digest"], "lists": settings.lists,
        "vectors": prepared["vectors"], "truth": prepared["truth"],
        "passes": settings.passes, "recall_target": settings.recall_target,
    }  # fmt: skip
    timeout = 600 + _SLOWEST_QUERY * (settings.queries * settings.passes + 5_000)  # tuning asks 5,000 at most
    with tempfile.TemporaryDirectory(prefix="nightgate-pgvector-") as folder:
        target = "nightgate.pgvector_search.timed:search"
        child = run_child(target, request | {"folder": folder}, threads=1, timeout=timeout)
        arrays = {name: np.load(Path(folder, f"{name}.npy")) for name in ("durations", "recall", "ids")}
    record.detail = child.value | {"build": prepared["tables"][record.variant], "data": prepared["data"]}
    record.detail["versions"] |= {"pgvector-python": version("pgvector"), "psycopg": version("psycopg")}
    return arrays


def _estimate(record: Record, durations: np.ndarray, recall: np.ndarray, table: dict[str, Any]) -> None:
    record.add("recall_at_5", *estimates.mean(recall))
    record.add("recall_p5", *estimates.quantile(recall, 0.05))
    seconds = durations / 1e9
    for name, q in _LATENCIES:
        record.add(name, *estimates.quantile(seconds, q, independent=seconds.shape[1]))
    # closed loop, one connection: the next query starts when the last one is answered
    mean, _, interval = estimates.mean(seconds.mean(axis=0))
    rate_interval = (1 / interval[1], 1 / interval[0]) if interval and interval[0] > 0 else None
    record.add("qps", 1 / mean, n=seconds.size, ci95=rate_interval)
    for name in _BUILD:
        record.add(name, table[name])
