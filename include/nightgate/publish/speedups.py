"""How many times as fast a GPU is as the CPU, of what one run measured on both."""

from __future__ import annotations

from collections.abc import Iterable

from nightgate import registry
from nightgate.judge import comparison
from nightgate.metrics import COST, MetricSpec
from nightgate.publish import figures
from nightgate.record import Record

_HEADING = "Times as fast as on the cpu"


def speedups(records: list[Record], run: Iterable[Record]) -> tuple[str, list[tuple[str, list[str]]]] | None:
    """A heading and rows, a title and a cell for each of ``records``; None where nothing was measured on the CPU as well.

    A cell holds the ratio and its interval, by `comparison.ratio`; there is one for each speed among the headlines of the
    benchmark. What the CPU did is among the records of the same ``run``.
    """
    on_cpu = {(one.benchmark, one.variant): one for one in run if one.device == "cpu" and one.status == "measured"}
    pairs = [(on_cpu.get((one.benchmark, one.variant)), one) for one in records if one.device == "gpu"]
    rows = []
    for name in figures.headlines(records):
        spec = registry.spec_of(next(record for record in records if name in record.metrics), name)
        cells = [_cell(spec, before, after) for before, after in pairs] if _is_speed(spec) else []
        if any(cells):
            rows.append((spec.title, [cell or "–" for cell in cells]))
    if not rows:
        return None
    apart = any(before and before.host and after.host and before.host != after.host for before, after in pairs)
    return _HEADING + " of another host" * apart, rows


def _is_speed(spec: MetricSpec) -> bool:
    """Whether it is about how long the work takes, and not about what it finds or what it needs."""
    return spec.section != COST and spec.unit != "bytes" and not spec.zero_is_possible


def _cell(spec: MetricSpec, on_cpu: Record | None, on_gpu: Record) -> str:
    slow, fast = (record.metrics.get(spec.name) if record else None for record in (on_cpu, on_gpu))
    if slow is None or fast is None or min(slow.value, fast.value) <= 0:
        return ""
    return figures.times(*(comparison.ratio(slow, fast) if spec.higher_is_better else comparison.ratio(fast, slow)))
