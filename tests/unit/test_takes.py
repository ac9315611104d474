"""What the rates say of each benchmark, by hand."""

import numpy as np
import pytest

from nightgate.benchmark import Benchmark
from nightgate.hybrid_ann.settings import Settings as HybridAnn
from nightgate.pgvector_search.settings import Settings as PgvectorSearch
from nightgate.transcription.clips.manifest import Entry
from nightgate.transcription.models.look import Kind
from nightgate.transcription.models.published import MODELS
from nightgate.transcription.plugin import BENCHMARK
from nightgate.transcription.settings import Settings as Transcription


def test_a_benchmark_that_says_nothing_takes_a_minute():
    takes, needs = Benchmark.takes(BENCHMARK, None, None), Benchmark.needs(BENCHMARK, None, None)
    assert (needs.disk, needs.memory) == (2**29, 2**30)
    assert (takes.prepare, takes.measure, takes.lower) == (60, 60, "scale")


def takes_of(settings):
    return settings.takes_for(settings.shape())


def hybrid(**more):
    given = {
        "variants": ["hybrid"], "rows": 1_000_000, "dim": 100, "queries": 1000, "passes": 3, "most_passes": 4, "processes": 2,
        "load_seconds": 5, "threads": 2,
    }  # fmt: skip
    return takes_of(HybridAnn.model_validate(given | more))


def test_the_hybrid():
    # 1,000 measured, 500 to tune and 200 to warm up: 1,700 queries compared with 1e8 numbers
    made, exact, built = 20, 1700 * 0.02, 20
    one = 2 * 10 + 2 * 5 + (2 * 4 * 1000 + 20 * 500) * (1e-3 + 4e-4)
    assert hybrid().prepare == pytest.approx(60 + made + exact + built)
    batches = 4 * 5  # seconds under load for each size, of the gated one
    assert hybrid().measure == pytest.approx(20 + one + batches)
    assert hybrid(controls=["exact"]).measure == hybrid().measure, "it runs on a GPU alone, in no time"
    assert hybrid(controls=["exact"]).prepare == hybrid().prepare
    assert hybrid().lower == "rows, passes or controls"
    assert hybrid(controls=["hnsw", "usearch"]).prepare == pytest.approx(60 + made + exact + built + 150 + 300)
    assert hybrid(controls=["hnsw", "usearch"]).measure == pytest.approx(20 + 3 * one + batches)
    assert hybrid(variants=["hnsw"], hnsw_ef_construction=300).prepare == pytest.approx(60 + made + exact + 3 * 150)
    assert hybrid(hnsw_ef_construction=300).prepare == hybrid().prepare
    assert hybrid(threads=8).prepare == pytest.approx(60 + made + (exact + built) / 4)
    assert hybrid(threads=1).prepare == pytest.approx(60 + made + 2 * (exact + built))
    assert hybrid(threads=64).prepare == hybrid(threads=16).prepare
    assert hybrid(threads=64).measure == hybrid().measure


def test_the_hybrid_on_vectors_of_ones_own(tmp_path):
    file = tmp_path / "base.npy"
    np.save(file, np.random.default_rng(5).normal(size=(4000, 16)).astype(np.float32))
    takes = hybrid(dataset=str(file), metric="l2", queries=100, dataset_rows=3000)
    assert takes.lower == "dataset_rows, passes or controls"
    assert 60 < takes.prepare < 60.1


@pytest.mark.parametrize(
    ("variant", "built"),
    [("ivfflat", 10 * 1.1), ("ivfflat_halfvec", 10 * 1.1), ("ivfflat_lists1000", 20), ("hnsw", 100)],
)
def test_pgvector(variant, built):
    given = {
        "variants": [variant],
        "rows": 1_000_000,
        "dim": 100,
        "queries": 1000,
        "passes": 1,
        "most_passes": 3,
        "load_seconds": 3,
        "clients": [1, 4],
    }
    takes = takes_of(PgvectorSearch.model_validate(given))
    assert takes.prepare == pytest.approx(60 + 20 + 1700 * 0.02 + 4 + built)
    query = 2e-3 + 0.015
    assert takes.measure == pytest.approx(20 + 20 + (3000 + 10 * 500) * query + 3 * 3)
    assert takes.lower == "rows, passes or controls"
    both = takes_of(PgvectorSearch.model_validate(given | {"controls": ["hnsw_halfvec"], "control_passes": 2}))
    assert both.prepare == pytest.approx(takes.prepare + 4 + 100)
    assert both.measure == pytest.approx(takes.measure + 20 + (2000 + 10 * 500) * query + 3 * 3)


def speech(**more):
    given = {
        "variants": ["pywhispercpp"], "audio_seconds": 500, "repeats": 5, "batch_seconds": 120, "batch_repeats": 3, "threads": 2,
    }  # fmt: skip
    settings = Transcription.model_validate(given | more)
    return BENCHMARK.takes(settings, BENCHMARK.look(settings, {}))


def test_transcription():
    size = MODELS["tiny.en"].size
    assert speech().prepare == pytest.approx(60 + size / 5e6 + 50)
    assert speech().measure == pytest.approx(20 + 30 + 0.15 * (6 * 500 + 4 * 120))
    assert speech().lower == "audio_seconds, repeats or controls"
    assert speech(controls=["faster-whisper"]).measure == pytest.approx(20 + 2 * (30 + 0.15 * 3000) + 0.15 * 480)
    both = speech(controls=["faster-whisper"], batch_controls=True).measure
    assert both == pytest.approx(20 + 2 * (30 + 0.15 * (3000 + 480)))
    assert speech(batch_repeats=0).measure == pytest.approx(20 + 30 + 0.15 * 3000)
    gpu = speech(gpu_variants=["openai-whisper"], controls=["openai-whisper"]).measure
    assert gpu == both, "gated on a device is enough"
    assert speech(audio_seconds=100).measure == pytest.approx(20 + 30 + 0.15 * (600 + 400))
    assert speech(threads=4).measure == pytest.approx(20 + 30 + 0.075 * (3000 + 480))
    assert speech(threads=99).measure == speech(threads=16).measure
    larger = MODELS["base.en"].size
    assert speech(model="base.en").prepare == pytest.approx(60 + larger / 5e6 + 50)
    assert speech(model="base.en").measure == pytest.approx(20 + 30 + 0.15 * larger / size * (3000 + 480))


def test_transcription_of_ones_own_clips_and_model(tmp_path, monkeypatch):
    (tmp_path / "b.wav").write_bytes(b"x" * 80_000)
    found = [Entry(id=name, audio=tmp_path / f"{name}.wav", text="a word", duration=duration, place="p")
             for name, duration in (("a", 30), ("b", None), ("c", 12), ("gone", None))]  # fmt: skip

    def listed(source, exclude):
        assert (source, exclude) == (tmp_path / "clips.jsonl", ("d",))
        return found

    monkeypatch.setattr("nightgate.transcription.looking.read_manifest", listed)
    monkeypatch.setattr("nightgate.transcription.looking.look_at", lambda model: Kind(51_864, 1, 50_000_000))
    takes = speech(
        model=str(tmp_path / "mine.bin"), clips=str(tmp_path / "clips.jsonl"), exclude=["d"], audio_seconds=60
    )
    audio = 30 + 12 + 10
    assert takes.prepare == pytest.approx(60 + 10 + 0.1 * audio)
    assert takes.measure == pytest.approx(20 + 30 + 0.15 * 5e7 / MODELS["tiny.en"].size * (6 * audio + 4 * audio))
    assert takes.lower == "repeats or controls, or the clips"
