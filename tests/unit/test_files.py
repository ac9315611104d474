import json
import os

import pytest
from support.specs import add

from nightgate.errors import ArtifactError, InputError
from nightgate.record import Host, Record, Summary
from nightgate.results import files

HOST = Host(fingerprint="abc", cpu="a cpu", cores=2, memory_bytes=2**34)


@pytest.fixture(autouse=True)
def runs(tmp_path, monkeypatch):
    monkeypatch.setenv("NIGHTGATE_RUNS", str(tmp_path))
    return tmp_path


def record(variant="hybrid", benchmark="hybrid_ann", device="cpu", **more):
    made = Record(benchmark=benchmark, variant=variant, device=device, status="measured", host=HOST, **more)
    add(made, "latency_p95", 0.0012, 3000, (0.0011, 0.0013))
    return made


def summary(run_id="night-1"):
    return Summary(
        run_id=run_id,
        dag_id="nightly_benchmarks",
        scale="smoke",
        state="pass",
        started_at="2026-11-22T02:00:00.000Z",
        finished_at="2026-11-22T02:01:48.000Z",
        host=HOST,
        results=[record()],
    )


def test_records_come_back_as_they_went_sorted(runs):
    tuned = record("ivfpq", detail={"knobs": {"ef": 100}})
    path = files.write_records("night-1", "hybrid_ann", "cpu", [tuned, record("hnsw")])
    files.write_records("night-1", "hybrid_ann", "gpu", [record(device="gpu")])
    files.write_records("night-1", "alpha", "gpu", [record(benchmark="alpha", device="gpu")])
    assert path == runs / "night-1" / "hybrid_ann-cpu.json"
    assert {key: json.loads(path.read_text())[key] for key in ("schema_version", "run_id", "benchmark", "device")} == {
        "schema_version": 1,
        "run_id": "night-1",
        "benchmark": "hybrid_ann",
        "device": "cpu",
    }
    found = files.read_records("night-1")
    assert [(r.benchmark, r.device, r.variant) for r in found] == [
        ("alpha", "gpu", "hybrid"),
        ("hybrid_ann", "cpu", "hnsw"),
        ("hybrid_ann", "cpu", "ivfpq"),
        ("hybrid_ann", "gpu", "hybrid"),
    ]
    assert tuned in found


def test_writing_again_replaces_and_leaves_no_draft(runs):
    files.write_records("night-1", "hybrid_ann", "cpu", [record("old"), record("older")])
    files.write_records("night-1", "hybrid_ann", "cpu", [record("new")])
    assert [r.variant for r in files.read_records("night-1")] == ["new"]
    assert os.listdir(runs / "night-1") == ["hybrid_ann-cpu.json"]


def test_a_failed_write_keeps_the_earlier_file(runs, monkeypatch):
    files.write_summary(summary())

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        files.write_summary(summary().model_copy(update={"state": "breach"}))
    monkeypatch.undo()
    assert json.loads((runs / "night-1" / "summary.json").read_text())["state"] == "pass"
    assert os.listdir(runs / "night-1") == ["summary.json"]


def test_the_summary_is_no_record_file():
    files.write_summary(summary())
    assert files.read_records("night-1") == []
    assert files.read_summary("night-1") == summary()


def test_a_missing_run_names_the_newest(runs):
    for age, name in enumerate(["c", "b", "a"]):
        (runs / name).mkdir()
        os.utime(runs / name, (1000 - age, 1000 - age))
    with pytest.raises(InputError, match="no run 'x'.*the newest runs are c, b, a"):
        files.read_records("x")
    with pytest.raises(InputError, match="no run 'x'"):
        files.read_summary("x")


def test_without_any_run_the_error_says_how_to_start_one(monkeypatch, tmp_path):
    monkeypatch.setenv("NIGHTGATE_RUNS", str(tmp_path / "none"))
    with pytest.raises(InputError, match="start one with `nightgate run`"):
        files.read_records("x")


def test_an_unfinished_run_has_no_summary(runs):
    files.write_records("night-1", "hybrid_ann", "cpu", [record()])
    with pytest.raises(ArtifactError, match="no summary"):
        files.read_summary("night-1")


@pytest.mark.parametrize("text", ["", '{"schema_version": 1, "run', "[]", '{"schema_version": 2}', "\xff"])
def test_a_torn_or_foreign_file_is_an_artifact_error(runs, text):
    path = files.write_records("night-1", "hybrid_ann", "cpu", [record()])
    path.write_text(text, encoding="latin-1")
    with pytest.raises(ArtifactError, match=r"hybrid_ann-cpu\.json is torn"):
        files.read_records("night-1")
    (runs / "night-1" / "summary.json").write_text(text, encoding="latin-1")
    with pytest.raises(ArtifactError, match=r"summary\.json is torn"):
        files.read_summary("night-1")


def test_files_of_another_run_are_refused(runs):
    files.write_records("night-1", "hybrid_ann", "cpu", [record()])
    files.write_summary(summary())
    (runs / "night-1").rename(runs / "night-2")
    with pytest.raises(ArtifactError, match="night-1"):
        files.read_records("night-2")
    with pytest.raises(ArtifactError, match="night-1"):
        files.read_summary("night-2")


def test_names_cannot_leave_the_run_folder():
    for run_id, benchmark in [("../up", "hybrid_ann"), ("night-1", "../up"), ("night-1", "a/b"), (".", "hybrid_ann")]:
        with pytest.raises(InputError):
            files.write_records(run_id, benchmark, "cpu", [])


def test_samples_lie_beside_the_records(runs):
    path = files.samples_path("scheduled__2026-11-22T02:00:00+00:00", "hybrid_ann", "cpu")
    assert path.name == "hybrid_ann-cpu.npz"
    assert path.parent.is_dir()
