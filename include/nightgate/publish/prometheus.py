"""The text exposition that Prometheus scrapes, computed from stored results each time it is asked for.

Nothing is counted in this process, so workers and restarts change nothing, and a fresh registry each time means that
a series that is gone is not shown again. Names follow https://prometheus.io/docs/practices/naming/: base units.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import get_args

from nightgate import __version__
from nightgate.artifacts import Cache
from nightgate.publish.cache import CacheCollector
from nightgate.publish.figures import epoch, slowest_xrt
from nightgate.record import RECALLS, Record, Verdict
from nightgate.results.store import Snapshot

SERIES = ("benchmark", "variant", "device")
_VERDICTS = get_args(Verdict)

# metric of a record → name, and a label that tells it from its siblings under that name
_NAMES: dict[str, tuple[str, tuple[str, str] | None]] = {
    **{metric: ("nightgate_recall_ratio", ("at", str(depth))) for metric, depth in RECALLS.items()},
    "recall_p5": ("nightgate_recall_worst_ratio", None),
    "latency_p50": ("nightgate_latency_seconds", ("percentile", "50")),
    "latency_p95": ("nightgate_latency_seconds", ("percentile", "95")),
    "latency_p99": ("nightgate_latency_seconds", ("percentile", "99")),
    "qps": ("nightgate_queries_per_second", None),
    "prepare_seconds": ("nightgate_stage_duration_seconds", ("stage", "prepare")),
    "measure_seconds": ("nightgate_stage_duration_seconds", ("stage", "measure")),
}
_POOL_STATES = ("open", "running", "queued", "scheduled", "deferred")


def samples(record: Record) -> Iterator[tuple[str, dict[str, str], float]]:
    """Name, labels and value of each metric of a record; Prometheus and statsd share them."""
    identity = {key: getattr(record, key) for key in SERIES}
    for metric, found in record.metrics.items():
        name, extra = _NAMES.get(metric) or (_plain_name(metric, found.unit), None)
        yield name, identity | (dict([extra]) if extra else {}), found.value


def bounds(record: Record) -> Iterator[tuple[str, dict[str, str], float]]:
    """As `samples`, the ends of the 95 % interval of each metric that has one: ``nightgate_latency_upper_bound_seconds``."""
    identity = {key: getattr(record, key) for key in SERIES}
    for metric, found in record.metrics.items():
        name, extra = _NAMES.get(metric) or (_plain_name(metric, found.unit), None)
        stem, _, unit = name.rpartition("_per_second" if name.endswith("_per_second") else "_")
        for side, value in (("lower", found.ci95[0]), ("upper", found.ci95[1])) if found.ci95 else ():
            end = f"{stem}_{side}_bound" + (f"_{unit}" if unit else "_per_second")
            yield end, identity | (dict([extra]) if extra else {}), value


def render(
    snapshot: Snapshot,
    pools: Mapping[str, Mapping[str, int]] | None = None,
    cache: Cache | None = None,
    *,
    accept: str = "",
) -> tuple[bytes, str]:
    """The whole page, UTF-8, and its content type.

    Args:
        pools: Airflow's pools: name → state → slots.
        cache: the artefact cache of this host.
        accept: the scraper's ``Accept`` header; who takes OpenMetrics gets it, everybody else the text format.
    """
    from prometheus_client import CollectorRegistry
    from prometheus_client.exposition import choose_encoder

    page = _Page(CollectorRegistry())
    page.put("nightgate_build_info", "The version that computed this page.", {"version": __version__}, 1)
    for device, value in slowest_xrt(_newest_transcription(snapshot.measured)).items():
        page.put("whisper_xrt", _HELP["whisper_xrt"], {"device": device}, value)
    for _, record in snapshot.measured:
        for name, labels, value in samples(record):
            page.put(name, _HELP.get(name, "Of the newest measurement."), labels, value)
        for name, labels, value in bounds(record):
            page.put(name, "An end of the 95 % interval of the newest measurement.", labels, value)
    for record in snapshot.judged:
        _put_objectives(page, record)
    if last := snapshot.last:
        labels = {"run_id": last.run_id, "scale": last.scale, "state": str(last.state)}
        page.put("nightgate_run_info", "The night that was judged last.", labels, 1)
        if last.finished_at:
            name = "nightgate_last_completion_timestamp_seconds"
            page.put(name, "When the last night was judged, whatever its state.", {}, epoch(last.finished_at))
        if last.finished_at and last.started_at:
            seconds = epoch(last.finished_at) - epoch(last.started_at)
            page.put("nightgate_run_duration_seconds", "From the start of the last night to its verdict.", {}, seconds)
    if snapshot.succeeded_at:
        name = "nightgate_last_success_timestamp_seconds"
        page.put(name, "When the last night passed.", {}, epoch(snapshot.succeeded_at))
    for pool, slots in (pools or {}).items():
        for state in _POOL_STATES:
            labels = {"pool": pool, "state": state}
            page.put("nightgate_pool_slots", "Slots of Airflow's pools by state.", labels, slots.get(state, 0))
    if cache:
        page.registry.register(CacheCollector(cache))
    encode, content_type = choose_encoder(accept)
    return encode(page.registry), content_type


_HELP = {
    "whisper_xrt": "Processing time per audio time of the slowest gated engine in the newest run.",
    "nightgate_xrt_ratio": "Processing time per audio time.",
    "nightgate_wer_ratio": "Word error rate.",
    "nightgate_recall_ratio": "Mean share of the true nearest neighbours found.",
    "nightgate_recall_worst_ratio": "The 5th percentile of recall over the queries.",
    "nightgate_latency_seconds": "Time of one query at a quantile.",
    "nightgate_stage_duration_seconds": "How long a stage of the newest measurement took, for all its variants together.",
}


class _Page:
    """Gauges by name, made when first needed: the client refuses the same name twice."""

    def __init__(self, registry) -> None:
        self.registry = registry
        self._gauges: dict[str, object] = {}

    def put(self, name: str, text: str, labels: dict[str, str], value: float) -> None:
        from prometheus_client import Gauge

        if name not in self._gauges:
            # no `unit=`: the client would append it to the name
            self._gauges[name] = Gauge(name, text, tuple(labels), registry=self.registry)
        gauge = self._gauges[name]
        (gauge.labels(**labels) if labels else gauge).set(value)


def _put_objectives(page: _Page, record: Record) -> None:
    for objective in record.objectives:
        labels = {key: getattr(record, key) for key in SERIES} | {"metric": objective.metric}
        page.put("nightgate_objective_limit", "What the objective demands, in base units.", labels, objective.limit)
        if objective.value is not None:
            page.put("nightgate_objective_value", "What the objective met, in base units.", labels, objective.value)
        for verdict in _VERDICTS:
            held = float(objective.verdict == verdict)
            page.put(
                "nightgate_objective_verdict",
                "1 for the verdict of the newest judgement.",
                labels | {"verdict": verdict},
                held,
            )


def _newest_transcription(measured: Sequence[tuple[str, Record]]) -> list[Record]:
    """Per device, the transcription records of the newest run only: an engine that left must not count as slowest."""
    ours = [
        (record.finished_at or "", run_id, record) for run_id, record in measured if record.benchmark == "transcription"
    ]
    newest = {record.device: run_id for _, run_id, record in sorted(ours, key=lambda one: one[:2])}
    return [record for _, run_id, record in ours if run_id == newest[record.device]]


def _plain_name(metric: str, unit: str) -> str:
    return f"nightgate_{metric}" if metric.endswith(unit) else f"nightgate_{metric}_{unit}"
