"""Each strategy timed alone, in turns; then stage by stage, and under load."""

from __future__ import annotations

import logging
from functools import partial

from nightgate.benchmark import Context
from nightgate.hybrid_ann import strategies
from nightgate.hybrid_ann.prepared import HybridPrepared
from nightgate.hybrid_ann.settings import Settings
from nightgate.measure.attempts import turns
from nightgate.record import Record
from nightgate.vector_search.asking import Asking
from nightgate.vector_search.benchmark import VectorBenchmark, finish
from nightgate.vector_search.evidence import Evidence
from nightgate.vector_search.in_process import InProcess
from nightgate.vector_search.metrics import BUILD_PEAK_RSS, BUILD_SECONDS, INDEX_BYTES
from nightgate.vector_search.strategy import SearchesMany, Strategy, stages
from nightgate.vector_search.timed import Work
from nightgate.vector_search.tuning import Tuning
from nightgate.vectors.dataset import MOST_TUNING

log = logging.getLogger(__name__)

_WHOLE_CURVE_TO = 0.995
_TUNING_WARMUP = 50


def measure(
    benchmark: VectorBenchmark[Settings, HybridPrepared], settings: Settings, prepared: HybridPrepared, context: Context
) -> list[Record]:
    """See `HybridAnn.measure`."""
    device = context.device
    gated = settings.gated(device)
    variants = [v for v in (*gated, *settings.beside(device)) if strategies.made_for(v, device)]
    evidence = partial(benchmark.evidence, settings, prepared=prepared, context=context)
    found = [evidence(variant, gated=variant in gated) for variant in variants]
    asking: dict[str, Asking] = {}
    for one in found:
        strategy = strategies.on(device, one.variant)
        if missing := prepared.missing.get(one.variant):
            one.record.status, one.record.reason = "skipped", missing
        elif lost := [prepared.failed[index.name] for index in strategy.indexes() if index.name in prepared.failed]:
            one.fail("; ".join(lost))
        else:
            _add_costs(one, strategy, prepared)
            folders = tuple(prepared.indexes[index.name].folder for index in strategy.indexes())
            work = Work(InProcess(strategy, folders), prepared.vectors, prepared.truth, settings.k)
            asking[one.variant] = Asking(work, settings, device)
    ready = [one for one in found if one.variant in asking]
    tuning = Tuning(
        settings.recall_target, settings.recall_margin, MOST_TUNING, _TUNING_WARMUP, whole_curve_to=_WHOLE_CURVE_TO
    )  # fmt: skip
    for process, one in turns(ready, settings.processes):
        log.info("%s: process %d of %d", one.variant, process + 1, settings.processes)
        step = partial(asking[one.variant].queries, tuning=tuning, passes=settings.passes)
        if process == 0:
            one.attempt(step)
        else:
            one.beside(f"process {process + 1} of {settings.processes}", step)
    for one in ready:
        _beside(one, asking[one.variant], settings)
    finish(found, prepared, context.samples)
    return [one.record for one in found]


def _beside(one: Evidence, asking: Asking, settings: Settings) -> None:
    """What else is to be known of a strategy than the time of its queries one by one."""
    strategy = strategies.on(asking.device, one.variant)
    if stages(strategy):
        one.beside("the time of each stage", asking.stages)
    if settings.load_seconds:
        one.beside("the open loop", asking.open_loop)
        if issubclass(strategy, SearchesMany):
            one.beside("the throughput", partial(asking.throughput, threads=settings.cores, batch=settings.batch))
            if asking.device == "gpu" or one.gated:
                one.beside("the batches", partial(asking.batches, threads=settings.cores))


def _add_costs(one: Evidence, strategy: type[Strategy], prepared: HybridPrepared) -> None:
    built = {index.name: prepared.indexes[index.name] for index in strategy.indexes()}
    if not built:
        return
    one.costs = {
        BUILD_SECONDS: sum(index.build_seconds for index in built.values()),
        BUILD_PEAK_RSS: max(index.build_peak_rss_bytes for index in built.values()),
        INDEX_BYTES: sum(index.bytes for index in built.values()),
    }
    if days := [index.built_at for index in built.values() if index.reused]:
        one.record.facts.earlier = dict.fromkeys((BUILD_SECONDS.name, BUILD_PEAK_RSS.name), min(days))
    one.tell({"index": {name: index.told() for name, index in built.items()}})
