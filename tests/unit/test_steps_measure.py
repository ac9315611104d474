"""Preparing and measuring: what the benchmark is given, what stays behind, and what is tidied when it ends in between."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
from support.street import BOTH, CONTROLS, HOST, Street, measured, plan

from nightgate import paths, steps
from nightgate.artifacts import Cache
from nightgate.errors import ArtifactError, NotMeasured, Unavailable
from nightgate.facts import Canary
from nightgate.measure.durations import Steps
from nightgate.results import files


@pytest.fixture(autouse=True)
def street(monkeypatch, tmp_path):
    return Street(monkeypatch, tmp_path)


def test_the_benchmark_is_given_its_settings_its_device_and_where_to_write(street):
    seen = []
    street.fake.prepare = lambda settings, device, cache: seen.append((settings, device, cache.root)) or {"made": 1}
    street.fake.measure = lambda *given: seen.append(given) or [measured(device="gpu")]
    ours = plan(work=BOTH)
    prepared = steps.prepare(ours, "hybrid_ann", "gpu")
    attempt = steps.measure(ours, "hybrid_ann", "gpu", prepared)
    settings = ours.settings_of("hybrid_ann")
    folder = paths.runs_dir() / "a-run"
    assert seen == [
        (settings, "gpu", paths.home() / "cache"), (settings, "gpu", {"made": 1}, folder / "hybrid_ann-gpu.npz"),
    ]  # fmt: skip
    (kept,) = files.read_records("a-run")
    assert (kept.device, kept.attempt) == ("gpu", attempt)
    assert (folder / "hybrid_ann-gpu.json").exists()
    assert street.calls == [], "what is measured in full is not tidied"


def test_each_step_has_its_own_time_out(street, monkeypatch):
    ended = []

    @contextmanager
    def ends_within(seconds):
        ended.append(seconds)
        yield

    monkeypatch.setattr(steps, "ends_within", ends_within)
    limits = {"hybrid_ann": {"cpu": Steps(11, 12), "gpu": Steps(13, 14)}, "transcription": {"cpu": Steps(15, 16)}}
    ours = plan(work=BOTH, timeout_seconds=limits)
    prepared = steps.prepare(ours, "hybrid_ann", "cpu")
    assert ended == [11]
    steps.measure(ours, "hybrid_ann", "cpu", prepared)
    assert ended == [11, 12]
    found = [ours.timeout_of(name, device, "measure") for name, device in (*BOTH, ("transcription", "cpu"))]
    assert found == [12, 14, 16]
    for nowhere in (("transcription", "gpu"), ("pgvector_search", "cpu")):
        assert ours.timeout_of(*nowhere, "prepare") == 21_600.0


def test_the_host_is_held_by_the_lock_of_the_machine(street, tmp_path, monkeypatch):
    monkeypatch.setenv("NIGHTGATE_LOCK", str(tmp_path / "a" / "measure.lock"))
    steps.measure(plan(), "hybrid_ann", "cpu", steps.prepare(plan(), "hybrid_ann", "cpu"))
    assert (tmp_path / "a" / "measure.lock").exists()
    (record,) = files.read_records("a-run")
    assert record.facts.noise.canary_before == Canary(seconds=0.01, spread=0.02)
    assert record.facts.noise.canary_after == Canary(seconds=0.01, spread=0.02)


def made(cache):
    artifact = cache.get("kind", {}, lambda folder: (folder / "a").write_bytes(b"x") and None)
    artifact.release()
    return {"vectors": {"folder": str(artifact.path)}}


def test_what_one_device_has_measured_stays_for_the_other(street):
    street.fake.prepare = lambda settings, device, cache: made(cache)
    ours = plan(work=BOTH)
    prepared = steps.prepare(ours, "hybrid_ann", "cpu")
    steps.prepare(ours, "hybrid_ann", "gpu")
    cache = Cache(paths.cache_dir())
    steps.measure(ours, "hybrid_ann", "cpu", prepared)
    assert cache.collect(0) == []
    other = plan(run_id="another-run", work=BOTH)
    steps.prepare(other, "hybrid_ann", "gpu")
    steps.measure(ours, "hybrid_ann", "gpu", prepared)
    assert cache.collect(0) == [], "the other run has it to do yet"
    steps.measure(other, "hybrid_ann", "gpu", prepared)
    assert len(cache.collect(0)) == 1


def test_what_fails_to_be_measured_stays_prepared_for_the_next_try(street):
    street.fake.prepare = lambda settings, device, cache: made(cache)
    prepared = steps.prepare(plan(), "hybrid_ann", "cpu")
    street.fake.measure = lambda *_: 1 / 0
    with pytest.raises(ZeroDivisionError):
        steps.measure(plan(), "hybrid_ann", "cpu", prepared)
    assert Cache(paths.cache_dir()).collect(0) == []
    assert street.calls == [("tidy", "hybrid_ann", plan().settings_of("hybrid_ann"))]


@pytest.mark.parametrize("error", [ValueError("it broke"), Unavailable("no server"), KeyboardInterrupt()])
def test_a_measurement_that_ends_early_is_tidied_and_its_error_raised(street, error):
    def ended(*_):
        raise error

    street.fake.measure = ended
    with pytest.raises(type(error)) as caught:
        steps.measure(plan(), "hybrid_ann", "cpu", {"prepare_seconds": 1.0})
    assert caught.value is error
    assert street.calls == [("tidy", "hybrid_ann", plan().settings_of("hybrid_ann"))]
    left = [(r.variant, r.status, r.reason) for r in files.read_records("a-run")]
    if isinstance(error, Exception):
        reason = f"measure failed: {error}"
        assert left == [(variant, "failed", reason) for variant in ("hnsw", "hybrid", "ivfpq_refine")]
    else:
        assert left == [], "`report` says what was ended"


def test_a_reservation_that_fails_is_tidied_and_a_prepare_that_fails_has_nothing_to_tidy(street, monkeypatch):
    def refused(*_):
        raise ArtifactError("no space", "free some")

    monkeypatch.setattr(Cache, "reserve", refused)
    with pytest.raises(ArtifactError):
        steps.prepare(plan(), "hybrid_ann", "cpu")
    assert street.calls == [("tidy", "hybrid_ann", plan().settings_of("hybrid_ann"))]
    street.fake.prepare = refused
    with pytest.raises(ArtifactError):
        steps.prepare(plan(), "hybrid_ann", "cpu")
    assert len(street.calls) == 1
    assert {r.reason for r in files.read_records("a-run")} == {"prepare failed: no space. Next step: free some"}


def test_what_is_left_behind_for_a_variant_without_numbers(street, monkeypatch):
    monkeypatch.setattr(steps, "utc_now", iter(["2026-11-22T03:00:00.000Z"]).__next__)
    street.fake.prepare = absent
    ours = plan(work=BOTH)
    with pytest.raises(Unavailable, match="^no device. Next step: get one$"):
        steps.prepare(ours, "hybrid_ann", "gpu")
    given = {
        "benchmark": "hybrid_ann", "device": "gpu", "status": "skipped", "reason": "no device. Next step: get one", "host": HOST,
        "settings": ours.settings["hybrid_ann"], "started_at": "2026-11-22T03:00:00.000Z", "finished_at": "2026-11-22T03:00:00.000Z",
    }  # fmt: skip
    assert files.read_records("a-run") == [measured(name, **given) for name in ("hnsw", "hybrid", "ivfpq_refine")]


def absent(*_):
    raise Unavailable("no device", "get one")


@pytest.mark.parametrize(
    ("device", "required", "error", "status", "reason"),
    [
        ("gpu", True, NotMeasured, "failed", "a GPU is required: no device. Next step: get one"),
        ("gpu", False, Unavailable, "skipped", "no device. Next step: get one"),
        ("cpu", True, Unavailable, "skipped", "no device. Next step: get one"),
        ("cpu", False, Unavailable, "skipped", "no device. Next step: get one"),
    ],
)
def test_only_a_gpu_can_be_required(street, device, required, error, status, reason):
    street.fake.prepare = absent
    with pytest.raises(error) as caught:
        steps.prepare(plan(work=BOTH, require_gpu=required), "hybrid_ann", device)
    assert type(caught.value) is error
    assert str(caught.value) == reason
    assert isinstance(caught.value.__cause__, Unavailable) is (error is NotMeasured)
    found = {(r.device, r.status, r.reason) for r in files.read_records("a-run")}
    assert found == {(device, status, reason)}


def test_every_gated_variant_that_is_missing_is_named_and_no_control(street):
    gated = {"settings": {"variants": ["hybrid", "faiss_hnsw"]}}
    street.fake.measure = lambda *_: [
        measured("hybrid", status="failed", reason="it crashed", **gated), measured("hnsw", status="failed", reason="no"),
        measured("faiss_hnsw", status="skipped", reason="not installed", **gated),
    ]  # fmt: skip
    with pytest.raises(NotMeasured) as caught:
        steps.measure(plan(), "hybrid_ann", "cpu", {"prepare_seconds": 1.0})
    assert str(caught.value) == ("hybrid was not measured: it crashed; faiss_hnsw was not measured: not installed")
    street.fake.measure = lambda *_: [measured(), measured("hnsw", status="failed", reason="no")]
    steps.measure(plan(), "hybrid_ann", "cpu", {"prepare_seconds": 1.0})
    assert [r.variant for r in files.read_records("a-run")] == ["hnsw", "hybrid"], "of the last try only"


def test_a_gpu_that_measures_none_of_the_gated_variants_is_no_failure_and_its_controls_are_kept(street):
    skipped = {"status": "skipped", "reason": "no faiss", "device": "gpu"}
    gated = {"settings": {"variants": ["hybrid", "faiss_hnsw"]}}

    def tried(*records, required=False, device="gpu"):
        street.fake.measure = lambda *_: list(records)
        with pytest.raises((Unavailable, NotMeasured)) as caught:
            steps.measure(plan(work=BOTH, require_gpu=required), "hybrid_ann", device, {"prepare_seconds": 1.0})
        assert str(caught.value) == "hybrid was not measured: no faiss"
        return type(caught.value)

    control = measured("hnsw", device="gpu")
    assert tried(measured(**skipped), control) is Unavailable
    kept = {r.variant: (r.status, "prepare_seconds" in r.metrics) for r in files.read_records("a-run")}
    assert kept == {"hybrid": ("skipped", False), "hnsw": ("measured", True)}
    assert tried(measured(**skipped), control, required=True) is NotMeasured
    assert tried(measured(**skipped | {"status": "failed"}), control) is NotMeasured
    assert tried(measured(**skipped, **gated), measured("faiss_hnsw", device="gpu", **gated)) is NotMeasured
    assert tried(measured(**skipped | {"device": "cpu"}), device="cpu") is NotMeasured


def test_what_a_benchmark_leaves_open_is_filled_in(street):
    street.fake.measure = lambda *_: [measured(host=None, samples="hybrid_ann-cpu.npz", finished_at=None)]
    steps.measure(plan(), "hybrid_ann", "cpu", {"ready": True, "prepare_seconds": 1.0})
    (record,) = files.read_records("a-run")
    assert record.host == HOST
    assert record.finished_at and record.finished_at.endswith("Z")
    assert record.samples is None, "it named a file that it did not write"


@pytest.mark.parametrize(
    ("records", "said"),
    [
        ([measured(device="gpu")], "hybrid_ann on cpu returned a record of hybrid_ann on gpu"),
        ([measured(benchmark="other")], "hybrid_ann on cpu returned a record of other on cpu"),
        ([measured("hnsw")], "hybrid_ann on cpu returned no record of hybrid"),
        ([], "hybrid_ann on cpu returned no record of hybrid"),
    ],
)
def test_records_of_something_else_and_forgotten_ones_are_no_measurement(street, records, said):
    street.fake.measure = lambda *_: records
    with pytest.raises(NotMeasured, match=f"^{said}$"):
        steps.measure(plan(), "hybrid_ann", "cpu", {"ready": True, "prepare_seconds": 1.0})
    assert {(r.variant, r.status) for r in files.read_records("a-run")} == {
        (name, "failed") for name in ("hybrid", *CONTROLS)
    }


def test_a_record_in_the_place_of_a_gated_variant_will_do(street):
    street.fake.measure = lambda *_: [measured("hnsw", instead_of="hybrid")]
    steps.measure(plan(), "hybrid_ann", "cpu", {"ready": True, "prepare_seconds": 1.0})
    assert [r.variant for r in files.read_records("a-run")] == ["hnsw"]
