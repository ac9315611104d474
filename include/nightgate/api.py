"""What packages build upon that add to Nightgate: a benchmark, a speech engine, a vector index, a vector store.

Whatever is named here follows semantic versioning (https://semver.org) under `VERSION`: what was written for 1.0 works with
every 1.x. Everything else inside ``nightgate`` may change with any release.

A package says what it brings by entry points; ``nightgate plugins`` lists what was found, and why something was not usable:

    nightgate.benchmarks     a `Benchmark`: an object, or the class
    nightgate.engines        an `Engine`, which is a variant of the benchmark of transcription
    nightgate.strategies     a `Strategy`, which is a variant of the benchmark of vector indexes
    nightgate.vector_stores  a `VectorStore`, which gets a benchmark of its own

An entry point bears the name that suites, records and the command line use. Its module imports light, because a DAG that is
parsed loads it: what costs seconds or needs a device is imported inside the methods, and never inside a timed call.
"""

from __future__ import annotations

from nightgate.artifacts import Artifact, Cache
from nightgate.benchmark import Benchmark, Context, Gauge, Looked, Prepared, Service
from nightgate.errors import (
    ArtifactError,
    ChildError,
    InputError,
    NightgateError,
    NotMeasured,
    ServiceUnavailable,
    Unavailable,
)
from nightgate.facts import (
    Batch,
    Canary,
    Crowd,
    Facts,
    Noise,
    OpenLoop,
    Point,
    Provenance,
    Tuning,
    Vectors,
)
from nightgate.measure.child import ChildResult, run_child
from nightgate.measure.clock import time_calls
from nightgate.measure.estimates import Estimate, error_rate, mean, quantile, ratio_of_sums
from nightgate.measure.samples import save as save_samples
from nightgate.metrics import ErrorRate, MetricSpec, Quantile, Repeats
from nightgate.objectives import Limit
from nightgate.record import Device, Host, Metric, Objective, Record
from nightgate.suite import Aside, BenchmarkSettings, Needs, Takes
from nightgate.transcription.engines.interface import BatchEngine, Decoding, Engine, Model, Segment, Transcript
from nightgate.vector_search.session import Encoded, Ids, Proof, Setting
from nightgate.vector_search.settings import Shape
from nightgate.vector_search.store import Address, Built, Collection, StoreSession, VectorStore
from nightgate.vector_search.store_settings import StoreSettings
from nightgate.vector_search.strategy import Index, SearchesMany, Staged, Strategy
from nightgate.vectors.prepared import DataFacts

__all__ = [
    "VERSION",
    "Address",
    "Artifact",
    "ArtifactError",
    "Aside",
    "Batch",
    "BatchEngine",
    "Benchmark",
    "BenchmarkSettings",
    "Built",
    "Cache",
    "Canary",
    "ChildError",
    "ChildResult",
    "Collection",
    "Context",
    "Crowd",
    "DataFacts",
    "Decoding",
    "Device",
    "Encoded",
    "Engine",
    "ErrorRate",
    "Estimate",
    "Facts",
    "Gauge",
    "Host",
    "Ids",
    "Index",
    "InputError",
    "Limit",
    "Looked",
    "Metric",
    "MetricSpec",
    "Model",
    "Needs",
    "NightgateError",
    "Noise",
    "NotMeasured",
    "Objective",
    "OpenLoop",
    "Point",
    "Prepared",
    "Proof",
    "Provenance",
    "Quantile",
    "Record",
    "Repeats",
    "SearchesMany",
    "Segment",
    "Service",
    "ServiceUnavailable",
    "Setting",
    "Shape",
    "Staged",
    "StoreSession",
    "StoreSettings",
    "Strategy",
    "Takes",
    "Transcript",
    "Tuning",
    "Unavailable",
    "VectorStore",
    "Vectors",
    "error_rate",
    "mean",
    "quantile",
    "ratio_of_sums",
    "run_child",
    "save_samples",
    "time_calls",
]

VERSION = "1.0"
"""Of what is named here."""
