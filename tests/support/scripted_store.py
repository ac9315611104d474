"""A vector store that notes what is done to it, and fails where a test says so."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import ClassVar

import numpy as np

from nightgate.benchmark import Context, Service
from nightgate.errors import NightgateError
from nightgate.facts import Crowd, OpenLoop, Point
from nightgate.measure.child import ChildResult
from nightgate.vector_search.session import Proof
from nightgate.vector_search.store import Built, VectorStore
from nightgate.vector_search.store_benchmark import StoreBenchmark
from nightgate.vector_search.store_preparing import StorePrepared
from nightgate.vector_search.store_settings import StoreSettings
from nightgate.vector_search.timed import ClientsAnswer, Level, OpenLoopAnswer, Timed
from nightgate.vector_search.tuning import Tuned
from nightgate.vectors.prepared import DataFacts, PreparedData

DIGEST = "a" * 20
FACTS = DataFacts(rows=2000, dim=16, digest=DIGEST)
POINT = Point(setting={"probes": 9}, recall=0.95, latency_p50=0.001, latency_p95=0.002, queries=5)
BUILT = Built(load_seconds=1, rows_per_second=2, build_seconds=3, built_at="then", index_bytes=4, lists=10)
URL, OURS = "scripted://user@host", "scripted://ours"


class Settings(StoreSettings):
    known_variants: ClassVar = ("half", "single", "graph")


class ScriptedStore(VectorStore):
    """``half`` is gated over ``single`` where it is lacking, ``graph`` stands alone. ``broken`` names the steps that fail."""

    name, title = "scripted", "Scripted"
    service = Service("scripted", "SCRIPTED_URL", "scripted_default", "SCRIPTED_EMBEDDED")
    variants = Settings.known_variants
    metrics = ("cosine", "l2")
    settings = Settings
    keep_variables = ("SCRIPTED*",)
    restarts = True

    def __init__(self):
        self.done, self.broken, self.lacking, self.tuning, self.free = [], {}, {}, None, True
        self.reused, self.fits = False, True
        self.required, self.remembered, self.explained = [], [], None

    def check(self, name):
        self.done.append(name)
        if error := self.broken.get(name):
            raise error

    def most_dimensions(self, variant):
        return 4000 if variant == "half" else 2000

    def look(self, url):
        self.check(f"look {url}")

    @contextmanager
    def connect(self, address, doing, *, required=True):
        self.required.append(required)
        self.check(doing)
        yield SimpleNamespace(address=address)

    def begin(self, connection):
        self.check("begin")

    def lacks(self, connection, variant):
        return self.lacking.get(variant)

    def instead(self, variant):
        return "single" if variant == "half" else None

    def lock(self, connection):
        self.check("lock")

    def share(self, connection):
        self.check("share")

    def try_lock(self, connection):
        self.check("try lock")
        return self.free

    def rows(self, connection, collection):
        raise NotImplementedError

    load = index = open = rows

    def ensure(self, connection, address, collection, base, known):
        self.check(f"ensure {collection.variant}")
        assert (collection.digest, collection.rows, base) == (DIGEST, 2000, "base")
        self.known = known
        return BUILT.model_copy(update={"tuning": self.tuning, "reused": self.reused})

    def standing(self, connection, collection, base, known):
        self.check(f"standing {collection.variant}")
        return None if self.reused is None else BUILT.model_copy(update={"reused": self.reused})

    def reindex(self, connection, address, collection, base, built):
        self.check(f"reindex {collection.variant}")
        return built.model_copy(update={"build": "anew", "indexed_at": "now", "build_seconds": 9, "tuning": None})

    def together(self, connection, collections):
        self.check("together " + " ".join(collection.variant for collection in collections))
        return self.fits

    def remember(self, connection, collection, built):
        self.check(f"remember {collection.variant}")
        self.remembered.append(built)

    def remove(self, connection):
        self.check("remove")

    def drop_drafts(self, connection):
        self.check("drop drafts")

    def restart(self, connection, address):
        self.check("restart")

    def explain(self, record, beside):
        return self.explained


class World:
    """The store, its benchmark, and everything around them that would take time."""

    def __init__(self, monkeypatch, tmp_path):
        from nightgate.vector_search import asking, benchmark, store_measuring, store_preparing

        self.store, self.requests, self.folder = ScriptedStore(), {}, tmp_path
        self.in_turns = []
        self.benchmark = StoreBenchmark(self.store)
        self.prepared_data = PreparedData(vectors=tmp_path, truth=tmp_path, data=FACTS)
        self.context = Context("cpu", None, samples=tmp_path / "s.npz", services={"scripted": URL})
        monkeypatch.setenv("SCRIPTED_EMBEDDED", OURS)
        monkeypatch.setenv("NIGHTGATE_HOME", str(tmp_path))
        for module in (store_measuring, store_preparing):
            monkeypatch.setattr(module, "open_dataset", lambda folder: SimpleNamespace(base="base"))
        monkeypatch.setattr(asking, "run_child", self.run_child)
        monkeypatch.setattr(store_measuring, "run_child", self.run_child)
        monkeypatch.setattr(store_measuring, "run_in_turns", self.run_in_turns)
        monkeypatch.setattr(benchmark, "open_hardness", lambda folder: np.arange(3))
        monkeypatch.setattr(store_preparing.data, "prepare", lambda cache, source, threads: self.prepared_data)
        fingerprint = store_measuring.host.describe().model_copy(update={"fingerprint": "this host"})
        monkeypatch.setattr(store_measuring.host, "describe", lambda: fingerprint)

    def settings(self, **more):
        given = {
            "variants": ("half",), "controls": ("graph",), "rows": 2000, "dim": 16, "queries": 100, "passes": 7,
            "control_passes": 2, "load_seconds": 0.5, "clients": (1, 3),
        }  # fmt: skip
        return Settings(**given | more)

    def prepared(self, **more):
        return StorePrepared(**dict(self.prepared_data), **{"gated": ("half",)} | more)

    def ours(self):
        self.context = replace(self.context, services={"scripted": OURS})

    def prepare(self, **asked):
        return self.benchmark.prepare(self.settings(**asked), self.context)

    def measure(self, found=None, **asked):
        records = self.benchmark.measure(self.settings(**asked), found or self.prepared(), self.context)
        return {record.variant: record for record in records}

    def run_in_turns(self, asks, **options):
        self.in_turns.append([ask.request.work.subject.collection.variant for ask in asks])
        answers = []
        for ask in asks:
            try:
                answers.append(self.run_child(ask.function, ask.request, **options))
            except NightgateError as error:
                answers.append(error)
        return answers

    def run_child(self, function, request, *, threads, timeout, keep, device="cpu"):
        variant, name = request.work.subject.collection.variant, function.__name__
        assert (threads, device, keep) == (1, "cpu", ("SCRIPTED*",))
        self.requests[variant, name] = request, timeout
        self.store.check(f"{name} {variant}")
        return ChildResult(getattr(self, name)(request), 5_000_000, 1.0)

    def time_queries(self, request):
        setting = request.setting or {"probes": 9}
        tuned = None if request.setting else Tuned(setting, True, [POINT])
        durations, recall = np.array([[5, 6, 7]] * 2), np.array([1, 0.8, 0.6])
        ids = np.arange(15).reshape(3, 5)
        proof, beside = Proof({"server": "1"}), np.full_like(durations, 200_000)
        return Timed(setting, tuned, 9, durations, {1: recall, 5: recall}, ids, proof, {}, beside)

    def open_loop_latency(self, request):
        loop = OpenLoop(rate=20, seconds=0.5, utilisation=0.5, saturated=False, lateness_p50_seconds=None)
        return OpenLoopAnswer(loop, np.array([3, 1, 2]))

    def many_clients(self, request):
        crowd = Crowd(clients=3, queries_per_second=8.0, ci95=(7.0, 9.0), latency_p50=0.1, latency_p95=0.2)
        return ClientsAnswer([Level(crowd, 10)])

    def cold_start(self, request):
        return np.array([4_000_000_000, 1_000_000_000])
