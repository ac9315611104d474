"""The strategies timed, in turns; then stage by stage, and under load."""

from __future__ import annotations

from functools import partial

from nightgate.benchmark import Context
from nightgate.hybrid_ann import strategies
from nightgate.hybrid_ann.prepared import HybridPrepared
from nightgate.hybrid_ann.settings import Settings
from nightgate.hybrid_ann.timing import time_all
from nightgate.record import Record
from nightgate.vector_search.asking import Asking
from nightgate.vector_search.benchmark import VectorBenchmark, finish, shape_of
from nightgate.vector_search.evidence import Evidence
from nightgate.vector_search.in_process import InProcess
from nightgate.vector_search.metrics import BUILD_PEAK_RSS, BUILD_SECONDS, INDEX_BYTES
from nightgate.vector_search.strategy import SearchesMany, Strategy, stages
from nightgate.vector_search.timed import Work


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
    time_all(ready, asking, settings, shape_of(prepared), device, beside=context.in_turns)
    for one in ready:
        _beside(one, asking[one.variant], settings)
    finish(found, prepared, context.samples)
    return [one.record for one in found]


def _beside(one: Evidence, asking: Asking, settings: Settings) -> None:
    """What else is to be known of a strategy than the time of its queries one by one: in two processes, for what takes one
    thread and what takes all cores."""
    if one.record.status != "measured":
        return
    strategy = strategies.on(asking.device, one.variant)
    alone = [asking.stages_of(one)] if stages(strategy) else []
    many = []
    if settings.load_seconds and (one.gated or settings.load_controls or asking.device == "gpu"):
        alone.append(asking.open_loop_of(one))
        if issubclass(strategy, SearchesMany):
            many.append(asking.throughput_of(one, threads=settings.cores, batch=settings.batch))
            if asking.device == "gpu" or one.gated:
                many.append(asking.batches_of(one, threads=settings.cores))
    asking.together(one, alone, threads=1)
    asking.together(one, many, threads=settings.cores)


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
    one.record.facts.builds = {name: index.built_at for name, index in built.items()}
    one.tell({"index": {name: index.told() for name, index in built.items()}})
