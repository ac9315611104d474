"""The text exposition that Prometheus scrapes, computed from stored results each time it is asked for.

Nothing is counted in this process, so workers and restarts change nothing, and a fresh registry each time means that
a series that is gone is not shown again. Names follow https://prometheus.io/docs/practices/naming/: base units.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, get_args

from nightgate import __version__, registry
from nightgate.artifacts.counted import Counted
from nightgate.benchmark import Gauge
from nightgate.publish import certainty
from nightgate.publish.cache import CacheCollector
from nightgate.publish.figures import epoch, used
from nightgate.record import Record, Verdict
from nightgate.results.store import Origin, Run, Snapshot

if TYPE_CHECKING:
    import prometheus_client
    from prometheus_client import CollectorRegistry

SERIES = ("suite", "benchmark", "variant", "device")
"""What is alike for all that is measured of one thing; who measured it is a label too, ``host``."""
_VERDICTS = get_args(Verdict)

log = logging.getLogger(__name__)

_POOL_STATES = ("open", "running", "queued", "scheduled", "deferred")


def samples(record: Record, scale: str | None = None) -> Iterator[Gauge]:
    """A gauge for each metric of a record; Prometheus and statsd share them, of which only the one knows the scale."""
    identity = _identity(record) | ({} if scale is None else {"scale": scale})
    for metric, found in record.metrics.items():
        spec = registry.spec_of(record, metric)
        text = spec.help or "Of the newest measurement."
        yield Gauge(spec.gauge_name, text, identity | dict(spec.labels), found.value)


def _identity(record: Record) -> dict[str, str]:
    return {key: getattr(record, key) for key in SERIES} | {"host": record.host.fingerprint if record.host else ""}


def bounds(record: Record, scale: str) -> Iterator[Gauge]:
    """As `samples`, the ends of the 95 % interval of each metric that has one: ``nightgate_latency_upper_bound_seconds``."""
    text = "An end of the 95 % interval of the newest measurement."
    for gauge, found in zip(samples(record, scale), record.metrics.values(), strict=True):
        stem, _, unit = gauge.name.rpartition("_per_second" if gauge.name.endswith("_per_second") else "_")
        for side, value in (("lower", found.ci95[0]), ("upper", found.ci95[1])) if found.ci95 else ():
            name = f"{stem}_{side}_bound" + (f"_{unit}" if unit else "_per_second")
            yield Gauge(name, text, gauge.labels, value)


def over_records(records: Sequence[Record]) -> Iterator[Gauge]:
    """The gauges that benchmarks have over several records of the newest runs, see `Benchmark.gauges`."""
    for name, known in registry.installed().items():
        try:
            yield from list(known.gauges([record for record in records if record.benchmark == name]))
        except Exception:  # of one benchmark, which hides no other
            log.exception("no gauges of %s", name)


def render(
    snapshot: Snapshot,
    pools: Mapping[str, Mapping[str, float]] | None = None,
    caches: Sequence[Counted] = (),
    *,
    accept: str = "",
) -> tuple[bytes, str]:
    """The whole page, UTF-8, and its content type.

    Args:
        pools: Airflow's pools: name → state → slots.
        caches: the artefact caches of the hosts.
        accept: the scraper's ``Accept`` header; who takes OpenMetrics gets it, everybody else the text format.
    """
    from prometheus_client import CollectorRegistry
    from prometheus_client.exposition import choose_encoder

    page = _Page(CollectorRegistry())
    page.put("nightgate_build_info", "The version that computed this page.", {"version": __version__}, 1)
    for gauge in over_records(_newest(snapshot)):
        page.put(gauge.name, gauge.help, gauge.labels, gauge.value)
    for run_id, record in snapshot.measured:
        scale = _origin(snapshot, run_id).scale
        for gauge in (*samples(record, scale), *bounds(record, scale)):
            page.put(gauge.name, gauge.help, gauge.labels, gauge.value)
        if record.facts.noise:
            _put_disturbed(page, record, scale)
    for run_id, record in snapshot.judged:
        _put_objectives(page, record, _origin(snapshot, run_id).scale)
    for last in snapshot.last:
        _put_run(page, last)
    for (suite, dag_id), moment in snapshot.succeeded_at.items():
        name = "nightgate_last_success_timestamp_seconds"
        page.put(name, "When the last night passed.", {"suite": suite, "dag_id": dag_id}, epoch(moment))
    for labels in snapshot.regressed:
        text = "1 while the watch holds it for slower or worse than its control, measured in turns."
        page.put("nightgate_regression", text, labels, 1)
    for pool, slots in (pools or {}).items():
        for state in _POOL_STATES:
            labels = {"pool": pool, "state": state}
            page.put("nightgate_pool_slots", "Slots of Airflow's pools by state.", labels, slots.get(state, 0))
    if caches:
        page.registry.register(CacheCollector(caches))
    encode, content_type = choose_encoder(accept)
    return encode(page.registry), content_type


class _Page:
    """Gauges by name, made when first needed: the client refuses the same name twice."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self._gauges: dict[str, prometheus_client.Gauge] = {}

    def put(self, name: str, text: str, labels: Mapping[str, str], value: float) -> None:
        from prometheus_client import Gauge

        try:
            if name not in self._gauges:
                # no `unit=`: the client would append it to the name
                self._gauges[name] = Gauge(name, text, tuple(labels), registry=self.registry)
            gauge = self._gauges[name]
            (gauge.labels(**labels) if labels else gauge).set(value)
        except ValueError as error:  # a name that is none, or other labels than under this name before: hides no other
            log.warning("no gauge %s with the labels %s: %s", name, ", ".join(labels), error)


def _put_run(page: _Page, last: Run) -> None:
    suite = {"suite": last.suite, "dag_id": last.dag_id}
    labels = suite | {"run_id": last.run_id, "scale": last.scale, "state": str(last.state)}
    page.put("nightgate_run_info", "The night of a DAG that was judged last.", labels, 1)
    if last.finished_at:
        name = "nightgate_last_completion_timestamp_seconds"
        page.put(name, "When the last night was judged, whatever its state.", suite, epoch(last.finished_at))
    if last.finished_at and last.started_at:
        seconds = epoch(last.finished_at) - epoch(last.started_at)
        page.put("nightgate_run_duration_seconds", "From the start of the last night to its verdict.", suite, seconds)


def _put_objectives(page: _Page, record: Record, scale: str) -> None:
    for objective in record.objectives:
        labels = _identity(record) | {"scale": scale, "metric": objective.metric}
        page.put("nightgate_objective_limit", "What the objective demands, in base units.", labels, objective.limit)
        if objective.value is not None:
            page.put("nightgate_objective_value", "What the objective met, in base units.", labels, objective.value)
            share = used(objective, objective.value, registry.spec_of(record, objective.metric))
            if share is not None:
                text = "What the limit still leaves, of what it allows: 0 is at the limit, less is past it."
                page.put("nightgate_objective_headroom_ratio", text, labels, 1 - share)
        nights = objective.nights if objective.verdict == "inconclusive" else 0
        text = (
            "For how many nights in a row the objective is undecided; 0 when it is decided, or could not be measured."
        )
        page.put("nightgate_objective_undecided_nights", text, labels, nights)
        for verdict in _VERDICTS:
            held = float(objective.verdict == verdict)
            page.put(
                "nightgate_objective_verdict",
                "1 for the verdict of the newest judgement.",
                labels | {"verdict": verdict},
                held,
            )


def _put_disturbed(page: _Page, record: Record, scale: str) -> None:
    labels = _identity(record) | {"scale": scale}
    text = (
        "1 when the host of the newest measurement was disturbed, so that its latencies and speeds count for nothing."
    )
    page.put("nightgate_measurement_disturbed", text, labels, float(certainty.disturbed(record) is not None))


def _newest(snapshot: Snapshot) -> list[Record]:
    """Per suite, DAG, benchmark and device, the records of the newest run only: a variant that left must not count any more."""

    def of(run_id: str, record: Record) -> tuple[str, ...]:
        return record.suite, _origin(snapshot, run_id).dag_id, record.benchmark, record.device

    by_age = sorted(snapshot.measured, key=lambda one: (one[1].finished_at or "", one[0]))
    newest = {of(run_id, record): run_id for run_id, record in by_age}
    return [record for run_id, record in snapshot.measured if run_id == newest[of(run_id, record)]]


def _origin(snapshot: Snapshot, run_id: str) -> Origin:
    return snapshot.origins.get(run_id, Origin())
