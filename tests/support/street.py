"""A plan and records for tests of the street that measure nothing."""

from __future__ import annotations

from types import SimpleNamespace

from support.specs import add
from support.stand_in import stand_in

from nightgate import judged, paths, registry, steps
from nightgate.measure import host
from nightgate.record import Host, Look, Record
from nightgate.suite import load_suite

HOST = Host(fingerprint="here", cpu="a cpu", cores=2, memory_bytes=8 * 2**30, gpu="a gpu")
BOTH = [("hybrid_ann", "cpu"), ("hybrid_ann", "gpu")]
CONTROLS = ["hnsw", "ivfpq_refine"]


def plan(**changes):
    """The smoke suite on ``work``, as a night; its gated variant is `hybrid`, with two controls."""
    suite = load_suite(paths.suite_file(), registry.installed(), "smoke", {"hybrid_ann.controls": CONTROLS})
    given = {
        "run_id": "a-run", "dag_id": "nightly_benchmarks", "scale": "smoke", "started_at": "2026-11-22T02:00:00.000Z",
        "work": [("hybrid_ann", "cpu")], "settings": {name: of.model_dump(mode="json") for name, of in suite.settings.items()},
        "objectives": {name: registry.named(name).applicable(suite.settings[name], registry.named(name).looked(), limits) for name, limits in suite.objectives.items()},
        "require_gpu": False, "scheduled": True,
    }  # fmt: skip
    return steps.Plan(**given | changes)


def measured(variant="hybrid", latency=0.001, spread=0.1, looks=1, **facts):
    """A record of `hybrid_ann` on the CPU; recall holds, the latency has an interval of ±``spread``. As many confirming runs
    as ``looks`` found the same."""
    given = {"benchmark": "hybrid_ann", "device": "cpu", "status": "measured", "settings": {"variants": ["hybrid"]}}
    record = Record(**{**given, "variant": variant, "host": HOST, **facts})
    if record.status == "measured":
        add(record, "latency_p95", latency, 1000, (latency * (1 - spread), latency * (1 + spread)))
        add(record, "recall_at_100", 0.96, 200, (0.95, 0.97))
        record.looks = [Look(started_at="later", metrics=record.metrics) for _ in range(looks)]
    return record


class Street:
    """The folders, the host and the benchmark of one test; notes what is called."""

    def __init__(self, monkeypatch, folder):
        monkeypatch.setenv("NIGHTGATE_RUNS", str(folder / "runs"))
        monkeypatch.setenv("NIGHTGATE_HOME", str(folder / "home"))
        monkeypatch.setattr(host, "describe", lambda: HOST)
        monkeypatch.setattr(judged, "pasts_of", lambda *_, **__: {})  # nothing is known of before
        self.calls = []
        self.fake = SimpleNamespace(
            prepare=lambda *_: {"ready": True},
            measure=lambda settings, device, *_: [measured(device=device)],
        )
        self.fake.tidy = lambda name, settings: self.calls.append(("tidy", name, settings))
        stand_in(monkeypatch, self.fake)
