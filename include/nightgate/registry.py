"""Which benchmarks there are, and what they declare of their metrics and settings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from nightgate import plugins
from nightgate.benchmark import Benchmark
from nightgate.errors import InputError, choices, nearest
from nightgate.metrics import MetricSpec, unknown
from nightgate.record import Record
from nightgate.suite import BenchmarkSettings
from nightgate.vector_search.store import VectorStore
from nightgate.vector_search.store_benchmark import of_each


@cache
def installed() -> Mapping[str, Benchmark[Any, Any]]:
    """Name → benchmark, of every package that brings one, and of every vector store."""
    found = plugins.load(plugins.BENCHMARKS, Benchmark) | of_each(plugins.load(plugins.VECTOR_STORES, VectorStore))  # type: ignore[type-abstract]
    return dict(sorted(found.items()))


def named(name: str) -> Benchmark[Any, Any]:
    """The benchmark ``name``.

    Raises:
        InputError: none of that name is installed.
    """
    known = installed()
    if name not in known:
        raise InputError(f"there is no benchmark {name!r}{nearest(name, tuple(known))}", choices(tuple(known)))
    return known[name]


def title(name: str) -> str:
    """For people; the name itself, of a benchmark that is not installed."""
    known = installed().get(name)
    return known.title if known else name.replace("_", " ")


def spec(benchmark: str, metric: str, unit: str = "") -> MetricSpec:
    """The declaration of a metric, or what its name gives away where the benchmark or the metric is not here any more."""
    return _specs(benchmark).get(metric) or unknown(metric, unit)


def spec_of(record: Record, metric: str) -> MetricSpec:
    """The declaration of a metric of ``record``."""
    found = record.metrics.get(metric)
    return spec(record.benchmark, metric, found.unit if found else "")


def watched(record: Record) -> list[MetricSpec]:
    """The metrics of ``record`` that the watch follows."""
    known = installed().get(record.benchmark)
    specs = [spec for name in record.metrics if (spec := _specs(record.benchmark).get(name)) and spec.better]
    chosen = {spec.name for spec in _specs(record.benchmark).values() if spec.watched} or set(
        known.headlines if known else ()
    )
    return [spec for spec in specs if spec.name in chosen]


def in_order(records: Sequence[Record], names: Iterable[str]) -> list[str]:
    """``names`` (of metrics of one benchmark) in the order in which the benchmark declares them, the unknown ones last."""
    wanted = list(dict.fromkeys(names))
    known = [name for name in (_specs(records[0].benchmark) if records else {}) if name in wanted]
    return [*known, *(name for name in wanted if name not in known)]


def work(record: Record) -> tuple[dict[str, Any], dict[str, str], dict[str, str]]:
    """What makes the work of a record: the settings that shape it (see `suite.Aside`), with the defaults of those that came
    later than the record; the digests of its data; and those of its tools (`Benchmark.tools`)."""
    default, aside = _settings(record.benchmark)
    known = installed().get(record.benchmark)
    tools = known.tools if known else ()
    asked = {**default, **record.settings}
    shaping = {name: value for name, value in asked.items() if name not in aside and value is not None}
    inputs = record.facts.inputs
    data = {name: digest for name, digest in inputs.items() if name not in tools}
    return shaping, data, {name: digest for name, digest in inputs.items() if name in tools}


@cache
def _settings(name: str) -> tuple[Mapping[str, Any], frozenset[str]]:
    """The defaults of a benchmark's settings, and which of them are `suite.Aside`."""
    known = installed().get(name)
    model = known.settings if known else BenchmarkSettings
    fields = model.model_fields if known else {}
    default = {
        key: field.get_default(call_default_factory=True) for key, field in fields.items() if not field.is_required()
    }
    return default, model.aside()


@cache
def _specs(name: str) -> Mapping[str, MetricSpec]:
    known = installed().get(name)
    return {one.name: one for one in known.all_metrics} if known else {}
