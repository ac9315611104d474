"""Which benchmarks exist, and on which devices each can run."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import Any

from nightgate.hybrid_ann.settings import Settings as HybridAnn
from nightgate.pgvector_search.settings import Settings as PgvectorSearch
from nightgate.suite import BenchmarkSettings
from nightgate.transcription.settings import Settings as Transcription

SETTINGS: dict[str, type[BenchmarkSettings]] = {
    "transcription": Transcription,
    "hybrid_ann": HybridAnn,
    "pgvector_search": PgvectorSearch,
}

DEVICES: dict[str, tuple[str, ...]] = {name: model.devices for name, model in SETTINGS.items()}


def implementation(name: str) -> ModuleType:
    """The module with ``prepare`` and ``measure`` of a benchmark; imported only when it is about to run."""
    return import_module(f"nightgate.{name}.benchmark")


def tidy(name: str, settings: BenchmarkSettings) -> None:
    """Remove what a run that ended between `prepare` and `measure` left outside the cache; most benchmarks leave nothing."""
    if remove := getattr(implementation(name), "tidy", None):
        remove(settings)


def defaults(name: str) -> dict[str, Any]:
    """The default of every setting of a benchmark that has one; empty for a benchmark that there is no more."""
    if name not in SETTINGS:
        return {}
    return {key: field.default for key, field in SETTINGS[name].model_fields.items() if not field.is_required()}
