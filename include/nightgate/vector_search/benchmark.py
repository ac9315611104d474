"""What every benchmark of vector searches declares, and what it does with the records it has made."""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from nightgate import paths
from nightgate.benchmark import Benchmark, Context, Looked, Made
from nightgate.facts import Facts, Vectors
from nightgate.measure import blocks, pace
from nightgate.measure.samples import save
from nightgate.record import Record
from nightgate.suite import Needs, Takes
from nightgate.vector_search.evidence import Evidence
from nightgate.vector_search.metrics import HEADLINES, RECALL, UNDER_LOAD
from nightgate.vector_search.settings import Shape, VectorSettings
from nightgate.vectors.data import open_hardness
from nightgate.vectors.places import open_places
from nightgate.vectors.prepared import PreparedData

Asked = TypeVar("Asked", bound=VectorSettings)


class VectorBenchmark(Benchmark[Asked, Made], ABC, Generic[Asked, Made]):
    """Its records tell recall at the depths that the settings name, and at no other."""

    looked = Shape

    def measures(self, settings: Asked) -> tuple[str, ...]:
        left_out = {spec.name for k, spec in RECALL.items() if k not in settings.recall_depths}
        return tuple(name for name in super().measures(settings) if name not in left_out)

    def headline(self, records: Sequence[Record]) -> tuple[str, ...]:
        """Recall at the depth that was asked for comes first."""
        depth = self.settings.model_fields["k"].default
        asked = dict.fromkeys(record.settings.get("k") or depth for record in records)
        names = (*(RECALL[k].name for k in asked), *HEADLINES)
        return tuple(name for name in names if any(name in record.metrics for record in records))

    def to_confirm(self, settings: Asked, metrics: Sequence[str]) -> Asked:
        """The gated variants alone; without load, where none of ``metrics`` is taken under it."""
        asked = super().to_confirm(settings, metrics)
        if any(spec.name in metrics for spec in UNDER_LOAD):
            return asked
        return asked.model_copy(update={"load_seconds": 0.0})

    def look(self, settings: Asked, services: Mapping[str, str]) -> Shape:
        """What will be searched; of a file of the user's by its header.

        Raises:
            InputError: as `own.inspect`.
        """
        return settings.shape()

    def needs(self, settings: Asked, looked: Looked) -> Needs:
        return settings.needs_for(_shape(looked))

    def takes(self, settings: Asked, looked: Looked) -> Takes:
        """The rates are per number of the base; see the README of each for where they were measured."""
        return settings.takes_for(_shape(looked))

    def evidence(
        self, settings: Asked, variant: str, prepared: PreparedData, context: Context, *, gated: bool
    ) -> Evidence:
        """What is to be gathered of ``variant``: a record without numbers so far."""
        known = prepared.data
        facts = Facts(inputs={"data": known.digest}, vectors=Vectors.model_validate(known.model_dump()), threads=1)
        record = self.begun(settings, variant, context.device)
        record.gated, record.samples, record.facts = gated, context.samples.name, facts
        return Evidence(record, settings.recall_target)


def shape_of(prepared: PreparedData) -> Shape:
    """What is searched."""
    known = prepared.data
    return Shape(rows=known.rows, dim=known.dim, metric=known.metric)


def _shape(looked: Looked) -> Shape:
    assert isinstance(looked, Shape)
    return looked


def finish(found: Sequence[Evidence], prepared: PreparedData, samples: Path) -> None:
    """Fill the records, and keep the raw samples of those that were measured in ``samples``.

    Per variant: durations_ns and beside_ns, int64, (passes, queries), see `passes.Asked`; processes, int64, (passes,); where
    it took turns with others round_p50, float64 seconds, (rounds,), see `Evidence.add_rounds`; recall at k, float64, (queries,); ids, int64, (queries, k), -1
    where an answer is missing; where it was put under load open_loop_ns, int64, (queries served,). Of a user's file the
    ids are its row numbers, and there are query_rows and held_out, see `Places`.
    """
    hardness, places = open_hardness(prepared.truth), open_places(prepared.vectors)
    seen = _pace(found)
    raw = {
        f"{one.variant}/{name}": array for one in found for name, array in one.finish(hardness, places, seen).items()
    }
    if raw:
        save(samples, raw)


def _pace(found: Sequence[Evidence]) -> list[float]:
    """What this measurement and the last before it on this host saw of the kernel at its fastest, ns; all variants have
    the host in common."""
    import numpy as np

    readings = [one.readings.ravel() for one in found if one.readings is not None]
    return pace.remember(paths.home(), blocks.fastest(np.concatenate(readings))) if readings else []
