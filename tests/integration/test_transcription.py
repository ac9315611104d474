"""Real weights, a real voice and both engines, on one clip."""

import json
from pathlib import Path

import numpy as np
import pytest

from nightgate.artifacts.cache import Cache
from nightgate.errors import ArtifactError, InputError
from nightgate.record import Record
from nightgate.transcription import benchmark, models
from nightgate.transcription.clips import read_clips
from nightgate.transcription.mel import mel_filters
from nightgate.transcription.settings import Settings

ENGINES = ("whisper-cpp-python", "pywhispercpp")
# one thread, because two would spin against other work; one timed pass (fewer than a suite may ask for) is enough here
ONE_CLIP = Settings(variants=ENGINES, audio_seconds=5, threads=1).model_copy(update={"repeats": 1})


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    """An empty HOME: what a library leaves there is seen."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("home")
        patch.setenv("HOME", str(folder))
        patch.delenv("XDG_CACHE_HOME", raising=False)
        yield folder


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    return Cache(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def prepared(cache, home):
    return json.loads(json.dumps(benchmark.prepare(ONE_CLIP, "cpu", cache)))


def test_the_converted_model_has_the_size_of_the_published_one(prepared):
    assert prepared["model"]["bytes"] == 77_704_715


def test_a_second_prepare_builds_nothing(prepared, cache):
    before = [entry.digest for entry in cache.entries()]
    assert benchmark.prepare(ONE_CLIP, "cpu", cache) == prepared
    assert [entry.digest for entry in cache.entries()] == before


def test_the_clip_is_speech_as_whisper_takes_it(prepared, tmp_path):
    (clip,) = read_clips(Path(prepared["clips"]["folder"]))
    audio = np.load(Path(prepared["clips"]["folder"], clip["file"]))
    assert (audio.dtype, audio.ndim) == (np.float32, 1)
    assert 12 <= clip["seconds"] == len(audio) / 16_000 <= 28
    assert 0.05 < np.abs(audio).max() <= 1


def test_the_voice_reports_to_nobody(prepared, home):
    """onnxruntime keeps what it is about to send in a database under HOME."""
    assert not list(home.rglob("*onnxruntime*"))


def test_both_engines_hear_the_clip(prepared, tmp_path):
    samples = tmp_path / "transcription-cpu.npz"
    records = benchmark.measure(ONE_CLIP, "cpu", prepared, samples)
    assert [record.variant for record in records] == list(ENGINES)
    with np.load(samples) as raw:
        for record in records:
            assert (record.status, record.reason) == ("measured", None)
            assert record.metrics["wer"].value <= 0.3
            durations = raw[f"{record.variant}/durations_ns"]
            assert (durations.dtype, durations.shape) == (np.int64, (1, 1))
            audio_ns = 1e9 * record.detail["audio_seconds"]
            assert record.metrics["xrt"].value == pytest.approx(durations.sum() / audio_ns)
            assert record.metrics["peak_rss_bytes"].value > prepared["model"]["bytes"]
            assert Record.model_validate_json(record.model_dump_json()) == record
    heard = [next(iter(record.detail["transcripts"].values())).lower() for record in records]
    assert all("great civil war" in text for text in heard)


def test_a_torn_model_is_refused_before_an_engine_sees_it(prepared, cache, tmp_path):
    torn = tmp_path / "ggml-torn.bin"
    torn.write_bytes(Path(prepared["model"]["path"]).read_bytes()[:40_000_000])
    with pytest.raises(ArtifactError, match="torn"):
        benchmark.prepare(ONE_CLIP.model_copy(update={"model": str(torn)}), "cpu", cache)


def test_a_model_torn_after_prepare_fails_with_its_reason(prepared, tmp_path):
    torn = tmp_path / "ggml-torn.bin"
    torn.write_bytes(Path(prepared["model"]["path"]).read_bytes()[:40_000_000])
    later = prepared | {"model": prepared["model"] | {"path": str(torn)}}
    settings = ONE_CLIP.model_copy(update={"variants": ENGINES[:1]})
    (record,) = benchmark.measure(settings, "cpu", later, tmp_path / "s.npz")
    assert record.status == "failed"
    assert "ends inside" in record.reason
    assert record.metrics == {}


def test_a_model_that_is_not_there_is_the_users_mistake(cache):
    with pytest.raises(InputError, match=r"tiny\.en"):
        models.resolve("tinny.en", cache)


def test_the_mel_filters_are_those_of_librosa():
    librosa = pytest.importorskip("librosa", reason="comes with whisper-cpp-python")
    for n_mels in (80, 128):
        assert np.array_equal(mel_filters(n_mels), librosa.filters.mel(sr=16_000, n_fft=400, n_mels=n_mels))
