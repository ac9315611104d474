"""Preparing and measuring: which step asks what of which, and what a failure takes with it; without a server."""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest

from nightgate import registry, steps
from nightgate.errors import ChildError, NotMeasured, ServiceUnavailable, Unavailable
from nightgate.pgvector_search import benchmark, preparing, tables
from nightgate.pgvector_search.settings import Settings
from nightgate.record import Record

DIGEST = "a" * 20
KEPT = {"setting": {"probes": 6}, "recall": 0.97, "latency_p95": 0.001}
HOST = SimpleNamespace(fingerprint="this host")


def settings(**more):
    return Settings(variants=("ivfflat_halfvec",), controls=("hnsw",), rows=2000, dim=16, queries=100, lists=10,
                    passes=7, control_passes=2, load_seconds=0.5, clients=(1, 3), **more)  # fmt: skip


def prepared(**more):
    return {"vectors": "/v", "truth": "/t", "data": {"digest": DIGEST}, "gated": ["ivfflat_halfvec"], "absent": {},
            "failed": {}, **more}  # fmt: skip


class World:
    """Everything around the benchmark notes what is done to it; ``broken`` names what fails."""

    def __init__(self):
        self.done, self.requests, self.broken, self.tuning = [], {}, {}, None

    def check(self, name):
        self.done.append(name)
        if error := self.broken.get(name):
            raise error

    @contextmanager
    def session(self, doing, *, required=True):
        self.check(doing)
        yield SimpleNamespace(name=doing)

    def ensure(self, connection, table, base):
        self.check(f"ensure {table.variant}")
        built = {"load_seconds": 1.0, "rows_per_second": 2.0, "build_seconds": 3.0, "index_bytes": 4, "lists": 10}
        return built | ({"tuning": self.tuning} if self.tuning else {})

    def run_child(self, target, request, *, threads, timeout, keep):
        name = target.removeprefix("nightgate.pgvector_search.timed:")
        self.requests[request["variant"], name] = request | {"threads": threads, "timeout": timeout}
        self.check(f"{name} {request['variant']}")
        return SimpleNamespace(value=getattr(self, name)(request))

    def search(self, request):
        for name, array in {"durations": np.array([[5, 6, 7]] * 2), "recall": np.array([1, 0.8, 0.6]),
                            "ids": np.arange(15).reshape(3, 5)}.items():  # fmt: skip
            np.save(f"{request['folder']}/{name}.npy", array)
        tuned = None if request["setting"] else {"reached": True, "curve": [{"setting": {"probes": 9}, "recall": 0.95}]}
        return {"setting": request["setting"] or {"probes": 9}, "tuned": tuned, "versions": {}}

    def open_loop_latency(self, request):
        np.save(f"{request['folder']}/latencies.npy", np.array([3, 1, 2]))
        return {"saturated": False}

    def many_clients(self, request):
        level = {"clients": 3, "queries_per_second": 8.0, "ci95": (7.0, 9.0), "n": 10}
        return {"sweep": [level], "failed": None}

    def cold_start(self, request):
        return {"durations_ns": [4_000_000_000, 1_000_000_000]}


@pytest.fixture
def world(monkeypatch):
    made = World()
    for module in (benchmark, preparing):
        monkeypatch.setattr(module.server, "session", made.session)
        monkeypatch.setattr(module, "open_dataset", lambda folder: SimpleNamespace(base=f"base of {folder}"))
    monkeypatch.setattr(tables, "ensure", made.ensure)
    monkeypatch.setattr(
        tables, "remember", lambda connection, table, facts: made.done.append(("remember", table.variant, facts))
    )
    monkeypatch.setattr(tables, "remove", lambda connection: made.check("remove"))
    monkeypatch.setattr(tables, "drop_drafts", lambda connection: made.check("drop drafts"))
    monkeypatch.setattr(benchmark.locks, "wait", lambda connection, *, shared: made.check(f"lock shared={shared}"))
    monkeypatch.setattr(benchmark.locks, "share", lambda connection: made.check("share"))
    monkeypatch.setattr(benchmark.locks, "take", lambda connection: made.check("take") or True)
    monkeypatch.setattr(benchmark, "run_child", made.run_child)
    monkeypatch.setattr(benchmark.host, "describe", lambda: HOST)
    monkeypatch.setattr(benchmark, "restart", lambda connection: made.check("restart"))
    monkeypatch.setattr(
        benchmark, "_record", lambda s, device, p, variant, samples: Record(
            benchmark="pgvector_search", variant=variant, device=device, status="measured", samples=samples.name,
            settings=s.model_dump(mode="json") | {"variants": p["gated"]},
        ),
    )  # fmt: skip
    monkeypatch.setenv("PGVECTOR_URL", "postgresql://u@h/db")
    return made


def measure(world, tmp_path, asked=None, found=None):
    records = benchmark.measure(asked or settings(), "cpu", found or prepared(), tmp_path / "s.npz")
    return {record.variant: record for record in records}


def test_a_gated_variant_is_held_timed_and_put_under_load(world, tmp_path):
    found = measure(world, tmp_path)
    gated = world.done[: world.done.index("hold the tables", 1)]
    remembered = gated.pop(5)
    assert gated == [
        "hold the tables", "lock shared=False", "ensure ivfflat_halfvec", "share", "search ivfflat_halfvec",
        "open_loop_latency ivfflat_halfvec", "many_clients ivfflat_halfvec",
    ]  # fmt: skip
    assert world.done[-3:] == ["remove our tables", "take", "remove"]
    asked = {"recall_target": 0.9, "recall_margin": settings().recall_margin, "host": "this host"}
    assert remembered[:2] == ("remember", "ivfflat_halfvec")
    curve = [{"setting": {"probes": 9}, "recall": 0.95}]
    assert remembered[2]["tuning"] == {"asked": asked, "setting": {"probes": 9}, "reached": True, "curve": curve}
    assert remembered[2]["lists"] == 10
    record = found["ivfflat_halfvec"]
    assert record.status == "measured" and record.metrics["recall_at_5"].value == pytest.approx(0.8)
    assert record.metrics["throughput_qps"].value == 8 and "open_loop_p50" in record.metrics
    assert record.detail["build"]["lists"] == 10 and "tuning" not in record.detail["build"]
    assert "not_measured" not in record.detail and record.finished_at


def test_a_control_is_timed_and_no_more(world, tmp_path):
    record = measure(world, tmp_path)["hnsw"]
    assert [done for done in world.done if isinstance(done, str) and done.endswith(" hnsw")] == [
        "ensure hnsw",
        "search hnsw",
    ]
    assert "open_loop_p50" not in record.metrics and record.status == "measured"


def test_each_child_is_asked_for_what_the_settings_say(world, tmp_path):
    measure(world, tmp_path)
    common = {"digest": DIGEST, "lists": 10, "vectors": "/v", "threads": 1}
    margin = settings().recall_margin
    gated, control = (world.requests[variant, "search"] for variant in ("ivfflat_halfvec", "hnsw"))
    for request in (gated, control):
        assert request.pop("folder") and {key: request[key] for key in common} == common
        assert {key: request[key] for key in ("truth", "recall_target", "recall_margin", "host", "setting")} == {
            "truth": "/t", "recall_target": 0.9, "recall_margin": margin, "host": "this host", "setting": None,
        }  # fmt: skip
    assert (gated["variant"], gated["passes"], gated["tuning_queries"]) == ("ivfflat_halfvec", 7, 500)
    assert (control["variant"], control["passes"], control["tuning_queries"]) == ("hnsw", 2, 200)
    assert (gated["timeout"], control["timeout"]) == (600 + 0.5 * (700 + 5000), 600 + 0.5 * (200 + 5000))
    loop, crowd = (world.requests["ivfflat_halfvec", name] for name in ("open_loop_latency", "many_clients"))
    assert (loop["rate"], loop["seconds"], loop["setting"], loop["timeout"]) == (
        20,
        0.5,
        {"probes": 9},
        120 + 10 * 0.5 * 3,
    )
    assert (crowd["clients"], crowd["seconds"], crowd["setting"], crowd["timeout"]) == ((1, 3), 0.5, {"probes": 9}, 135)


def test_a_setting_that_was_tuned_for_the_same_is_used_again(world, tmp_path):
    asked = {"recall_target": 0.9, "recall_margin": settings().recall_margin, "host": "this host"}
    world.tuning = {"asked": asked, "setting": {"probes": 6}, "reached": True, "curve": [KEPT]}
    record = measure(world, tmp_path)["hnsw"]
    assert world.requests["hnsw", "search"]["setting"] == {"probes": 6}
    assert not any(done[0] == "remember" for done in world.done if isinstance(done, tuple))
    assert record.detail["curve"] == [KEPT]


@pytest.mark.parametrize("other", [{"recall_target": 0.91}, {"recall_margin": 0.5}, {"host": "another"}])
def test_a_setting_that_was_tuned_for_something_else_is_looked_for_anew(world, tmp_path, other):
    asked = {"recall_target": 0.9, "recall_margin": settings().recall_margin, "host": "this host"} | other
    world.tuning = {"asked": asked, "setting": {"probes": 6}, "reached": True, "curve": [KEPT]}
    measure(world, tmp_path)
    assert world.requests["hnsw", "search"]["setting"] is None


def test_without_seconds_under_load_there_is_no_load(world, tmp_path):
    measure(world, tmp_path, settings().model_copy(update={"load_seconds": 0}))
    assert {name for _, name in world.requests} == {"search"}


@pytest.mark.parametrize(
    ("step", "what", "lost", "kept"),
    [
        ("open_loop_latency ivfflat_halfvec", "open_loop", "open_loop_p50", "throughput_qps"),
        ("many_clients ivfflat_halfvec", "throughput", "throughput_qps", "open_loop_p50"),
    ],
)
def test_a_step_under_load_that_fails_takes_nothing_with_it(world, tmp_path, step, what, lost, kept):
    world.broken[step] = ChildError("it crashed")
    record = measure(world, tmp_path)["ivfflat_halfvec"]
    assert record.status == "measured" and record.detail["not_measured"] == {what: "it crashed"}
    assert lost not in record.metrics and {kept, "recall_at_5", "latency_p95"} <= set(record.metrics)
    with np.load(tmp_path / "s.npz") as kept:
        assert set(kept) >= {"ivfflat_halfvec/durations_ns", "ivfflat_halfvec/ids", "hnsw/recall"}


def test_a_sweep_that_ends_early_keeps_what_it_has(world, tmp_path, monkeypatch):
    monkeypatch.setattr(World, "many_clients", lambda self, request: {"sweep": [], "failed": "1 clients at once: none"})
    record = measure(world, tmp_path)["ivfflat_halfvec"]
    assert record.detail["not_measured"] == {"clients": "1 clients at once: none"}
    assert "throughput_qps" not in record.metrics and record.status == "measured"


def test_a_tuning_that_cannot_be_kept_is_no_failure(world, tmp_path, monkeypatch):
    def fails(connection, table, facts):
        raise OSError("no comment")

    monkeypatch.setattr(tables, "remember", fails)
    record = measure(world, tmp_path)["ivfflat_halfvec"]
    assert record.detail["not_measured"] == {"tuning_kept": "OSError: no comment"} and "open_loop_p50" in record.metrics


@pytest.mark.parametrize("step", ["hold the tables", "ensure ivfflat_halfvec", "search ivfflat_halfvec"])
def test_without_what_is_judged_a_variant_has_failed_and_the_next_is_measured(world, tmp_path, monkeypatch, step):
    if step == "hold the tables":
        hold = world.session
        failing = iter([True])

        @contextmanager
        def once(doing, *, required=True):
            if doing == step and next(failing, False):
                raise ServiceUnavailable("it went")
            with hold(doing) as connection:
                yield connection

        monkeypatch.setattr(benchmark.server, "session", once)
    else:
        world.broken[step] = ServiceUnavailable("it went")
    found = measure(world, tmp_path)
    failed = found["ivfflat_halfvec"]
    assert (failed.status, failed.reason, failed.metrics, failed.samples) == ("failed", "it went", {}, None)
    assert failed.finished_at and found["hnsw"].status == "measured"
    with np.load(tmp_path / "s.npz") as kept:
        assert list(kept) == ["hnsw/durations_ns", "hnsw/recall", "hnsw/ids"]
    assert "remove" in world.done


def test_a_table_that_could_not_be_prepared_is_not_tried_again(world, tmp_path):
    found = measure(world, tmp_path, found=prepared(failed={"hnsw": "no memory"}))
    assert found["hnsw"].reason == "its table could not be prepared: no memory" and "ensure hnsw" not in world.done
    assert found["ivfflat_halfvec"].status == "measured"


def test_nothing_measured_leaves_no_samples(world, tmp_path):
    for variant in ("hnsw", "ivfflat_halfvec"):
        world.broken[f"search {variant}"] = ChildError("it crashed")
    measure(world, tmp_path)
    assert not (tmp_path / "s.npz").exists()


def test_an_interrupted_measurement_removes_the_tables(world, tmp_path):
    world.broken["search ivfflat_halfvec"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        measure(world, tmp_path)
    assert world.done[-1] == "remove"
    world.done.clear()
    with pytest.raises(KeyboardInterrupt):
        measure(world, tmp_path, settings(keep=True))
    assert "remove" not in world.done


def test_what_is_not_there_has_a_record_too(world, tmp_path):
    absent = {"ivfflat_halfvec": "no halfvec", "hnsw": "no hnsw"}
    found = measure(world, tmp_path, found=prepared(absent=absent))
    assert [(r.status, r.reason, r.samples) for r in found.values()] == [
        ("failed", "no halfvec", None), ("skipped", "no hnsw", None),
    ]  # fmt: skip
    assert all(record.finished_at == record.started_at for record in found.values())


# the cold start


@pytest.fixture
def embedded(world, monkeypatch):
    monkeypatch.delenv("PGVECTOR_URL")
    monkeypatch.setenv("NIGHTGATE_EMBEDDED_PGVECTOR", "postgresql://u@h/db")
    monkeypatch.setattr(benchmark.address, "embedded", lambda: True)
    return world


def test_the_cold_start_comes_after_everything_and_of_the_gated_only(embedded, tmp_path):
    found = measure(embedded, tmp_path, settings(keep=True))
    assert embedded.done[-4:] == ["be restarted", "take", "restart", "cold_start ivfflat_halfvec"]
    request = embedded.requests["ivfflat_halfvec", "cold_start"]
    assert (request["setting"], request["timeout"]) == ({"probes": 9}, 300)
    assert found["ivfflat_halfvec"].metrics["cold_start_first"].value == 4
    assert "cold_start_first" not in found["hnsw"].metrics


@pytest.mark.parametrize("step", ["restart", "cold_start ivfflat_halfvec", "be restarted"])
def test_a_cold_start_that_fails_takes_nothing_with_it(embedded, tmp_path, step):
    embedded.broken[step] = ServiceUnavailable("it did not come back")
    record = measure(embedded, tmp_path, settings(keep=True))["ivfflat_halfvec"]
    assert record.status == "measured" and record.metrics["recall_at_5"].n == 3
    assert record.detail["not_measured"] == {"cold_start": "it did not come back"}


def test_a_server_that_another_run_uses_is_not_restarted(embedded, tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark.locks, "take", lambda connection: False)
    record = measure(embedded, tmp_path, settings(keep=True))["ivfflat_halfvec"]
    assert (
        record.detail["not_measured"] == {"cold_start": "another run uses the server"}
        and "restart" not in embedded.done
    )


# prepare


@pytest.fixture
def preparation(world, monkeypatch):
    lacking = {}
    monkeypatch.setattr(preparing.server, "ensure_extension", lambda connection: world.check("extension"))
    monkeypatch.setattr(preparing.server, "lacks", lambda connection, kind: lacking.get((kind.method, kind.column)))
    monkeypatch.setattr(
        preparing.data,
        "prepare",
        lambda cache, source, threads: {"vectors": "/v", "truth": "/t", "data": {"digest": DIGEST}},
    )
    monkeypatch.setattr(
        preparing.baseline, "prepare", lambda cache, vectors, truth, digest, threads: f"{vectors}{truth}/{digest}"
    )
    world.lacking = lacking
    return world


def test_every_variant_is_loaded_in_a_session_of_its_own(preparation):
    assert preparing.prepare(settings(), "cpu", None) == prepared(truth=f"/v/t/{DIGEST}")
    load = ["load and index the table", "lock shared=False"]
    assert preparation.done == [
        "prepare the extension vector", "lock shared=False", "extension",
        *load, "ensure ivfflat_halfvec", *load, "ensure hnsw",
    ]  # fmt: skip


def test_a_control_that_cannot_be_built_is_noted(preparation):
    preparation.broken["ensure hnsw"] = ServiceUnavailable("no memory", "raise it")
    found = preparing.prepare(settings(), "cpu", None)
    assert found["failed"] == {"hnsw": "no memory. Next step: raise it"}
    assert "remove" not in preparation.done


@pytest.mark.parametrize(("keep", "left"), [(None, "remove"), (False, "remove"), (True, "drop drafts")])
@pytest.mark.parametrize("error", [ServiceUnavailable("no memory"), KeyboardInterrupt(), MemoryError()])
def test_what_fails_as_a_whole_leaves_nothing_but_what_is_kept(preparation, keep, left, error):
    preparation.broken["ensure ivfflat_halfvec"] = error
    with pytest.raises(type(error)):
        preparing.prepare(settings(keep=keep), "cpu", None)
    assert preparation.done[-3:] == ["remove our tables", "take", left]
    assert "ensure hnsw" not in preparation.done


def test_of_several_gated_ones_one_may_fail(preparation):
    asked = Settings(variants=("ivfflat", "hnsw"), rows=2000, dim=16, lists=10)
    preparation.broken["ensure ivfflat"] = ServiceUnavailable("no memory")
    assert preparing.prepare(asked, "cpu", None)["failed"] == {"ivfflat": "no memory"}
    preparation.broken["ensure hnsw"] = ServiceUnavailable("none at all")
    with pytest.raises(ServiceUnavailable, match="none at all"):
        preparing.prepare(asked, "cpu", None)


def test_what_the_server_lacks_is_gated_over_float32(preparation, caplog):
    preparation.lacking["ivfflat", "halfvec"] = "pgvector 0.6.2 has no halfvec, which came with 0.7"
    found = preparing.prepare(settings(), "cpu", None)
    assert found["gated"] == ["ivfflat"]
    reason = (
        "pgvector 0.6.2 has no halfvec, which came with 0.7, so ivfflat, the same index over float32, is gated instead"
    )
    assert found["absent"] == {"ivfflat_halfvec": reason} and reason in caplog.text
    assert [done for done in preparation.done if done.startswith("ensure")] == ["ensure ivfflat", "ensure hnsw"]


def test_a_control_that_the_server_lacks_is_absent_and_no_other_stands_in(preparation):
    preparation.lacking["hnsw", "vector"] = "no hnsw"
    found = preparing.prepare(settings(), "cpu", None)
    assert (found["gated"], found["absent"]) == (["ivfflat_halfvec"], {"hnsw": "no hnsw"})


def test_a_server_that_can_have_none_of_the_gated_is_refused_before_a_row_is_made(preparation, monkeypatch):
    monkeypatch.setattr(preparing.data, "prepare", lambda *rest, **more: pytest.fail("rows were made"))
    preparation.lacking.update({("ivfflat", "halfvec"): "no halfvec", ("ivfflat", "vector"): "no ivfflat"})
    with pytest.raises(ServiceUnavailable) as refused:
        preparing.prepare(settings(), "cpu", None)
    assert refused.value.what == "no halfvec, and no ivfflat"
    assert refused.value.next_step == "use a newer pgvector there, or other variants or a smaller dim"


def test_a_stand_in_that_lacks_as_well_leaves_the_others(preparation):
    asked = Settings(variants=("hnsw_halfvec", "ivfflat"), rows=2000, dim=16, lists=10)
    preparation.lacking.update({("hnsw", "halfvec"): "no hnsw", ("hnsw", "vector"): "no hnsw"})
    found = preparing.prepare(asked, "cpu", None)
    assert (found["gated"], found["absent"]) == (["hnsw_halfvec", "ivfflat"], {"hnsw_halfvec": "no hnsw"})


def test_a_variant_that_stands_in_for_one_that_is_gated_too_is_measured_once(preparation):
    asked = Settings(variants=("ivfflat_halfvec", "ivfflat"), rows=2000, dim=16, lists=10)
    preparation.lacking["ivfflat", "halfvec"] = "no halfvec"
    assert preparing.prepare(asked, "cpu", None)["gated"] == ["ivfflat"]


def test_vectors_too_long_for_a_control_are_said_in_its_row(preparation):
    asked = settings().model_copy(update={"dim": 2001})
    assert preparing.prepare(asked, "cpu", None)["absent"] == {
        "hnsw": "pgvector indexes the type vector up to 2,000 dimensions and dim is 2,001"
    }
    assert preparing.prepare(settings().model_copy(update={"dim": 2000}), "cpu", None)["absent"] == {}


def test_a_gpu_is_not_available(preparation):
    with pytest.raises(Unavailable, match="CPU"):
        preparing.prepare(settings(), "gpu", None)
    assert preparation.done == []


def test_whether_a_server_is_required_is_asked_of_the_settings(preparation, monkeypatch):
    asked = []

    @contextmanager
    def session(doing, *, required=True):
        asked.append(required)
        raise NotMeasured("enough")
        yield

    monkeypatch.setattr(preparing.server, "session", session)
    for require in (False, True):
        with pytest.raises(NotMeasured):
            preparing.prepare(settings(require_service=require), "cpu", None)
    assert asked == [False, True]


# left behind


def test_a_run_that_ended_between_is_swept_unless_tables_are_kept(world, monkeypatch):
    benchmark.tidy(settings())
    assert world.done == ["remove our tables", "take", "remove"]
    world.done.clear()
    benchmark.tidy(settings(keep=True))
    monkeypatch.delenv("PGVECTOR_URL")
    benchmark.tidy(settings())
    assert world.done == []


def test_tables_that_another_run_uses_are_left_to_it(world, monkeypatch):
    monkeypatch.setattr(preparing.locks, "take", lambda connection: False)
    preparing.tidy_up(tables.remove)
    assert "remove" not in world.done


@pytest.mark.parametrize("error", [ServiceUnavailable("gone"), NotMeasured("refused")])
def test_tables_that_cannot_be_removed_are_named(world, caplog, error):
    world.broken["remove our tables"] = error
    preparing.tidy_up(tables.remove)
    assert f"tables of ours may be left in the schema nightgate_bench ({error})" in caplog.text


def test_a_run_is_swept_by_its_benchmark_if_that_has_what_to_sweep(world, monkeypatch):
    registry.named("pgvector_search").tidy(settings(), None)
    assert world.done[-1] == "remove"
    world.done.clear()
    registry.named("transcription").tidy(settings(), None)
    assert world.done == []


@pytest.mark.parametrize("error", [NotMeasured("x"), KeyboardInterrupt()])
def test_a_step_that_ends_early_sweeps_and_one_that_does_not_leaves_all(monkeypatch, error):
    swept = []
    monkeypatch.setattr(steps, "_tidy", lambda plan, name, device: swept.append((name, plan)))
    with steps._tidied("the settings", "pgvector_search", "cpu"):
        pass
    assert swept == []
    with pytest.raises(type(error)), steps._tidied("the settings", "pgvector_search", "cpu"):
        raise error
    assert swept == [("pgvector_search", "the settings")]


# how many dimensions


def test_dimensions_end_where_the_index_of_the_column_ends():
    assert Settings(variants=("ivfflat",), dim=2000).dim == 2000
    assert Settings(variants=("ivfflat_halfvec",), controls=("ivfflat",), dim=4000).dim == 4000
    with pytest.raises(ValueError, match=r"ivfflat cannot be built: pgvector indexes the type vector up to 2,000 dimensions "
                       r"and dim is 2,001; use one of ivfflat_halfvec, ivfflat_halfvec_lists1000, hnsw_halfvec, or"):  # fmt: skip
        Settings(variants=("ivfflat_halfvec", "ivfflat"), dim=2001)
    with pytest.raises(ValueError, match="4000"):
        Settings(variants=("ivfflat_halfvec",), dim=4001)
