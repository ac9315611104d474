"""OpenAI's Whisper in PyTorch on the packaged weights: what it loads, what it hears, and what it refuses.

Where it is not installed these tests skip; with REQUIRE_TORCH set they fail.
"""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from support.extras import needs_openai_whisper
from support.ggml_file import GgmlFile
from support.speech import measure, prepare

from nightgate.artifacts.cache import Cache
from nightgate.errors import ArtifactError, NotMeasured
from nightgate.measure import estimates
from nightgate.transcription import engines, scoring
from nightgate.transcription.clips.folder import Known, read_clips, save_clip, save_set
from nightgate.transcription.engines import Decoding, openai_whisper
from nightgate.transcription.models.ggml import write_ggml
from nightgate.transcription.models.ggml_weights import read_ggml
from nightgate.transcription.prepared import PreparedClips
from nightgate.transcription.settings import Settings

pytestmark = pytest.mark.slow  # a minute and a half, where PyTorch is installed

NAME = "openai-whisper"
OTHERS = ("pywhispercpp", "faster-whisper")
SETTINGS = Settings(variants=OTHERS[:1], controls=(NAME,), audio_seconds=60, threads=1)
SECOND = 16_000


@pytest.fixture(scope="module", autouse=True)
def torch():
    needs_openai_whisper()
    return pytest.importorskip("torch")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return prepare(SETTINGS, Cache(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="module")
def model(prepared):
    return engines.Model(prepared.model.path, None, 51_864)


@pytest.fixture(scope="module")
def clips(prepared):
    folder = prepared.clips.folder
    return [np.load(folder / clip.file) for clip in read_clips(folder)]


@pytest.fixture(scope="module")
def engine(model):
    return engines.load(engines.named(NAME), model, 1, "cpu")


@pytest.fixture(scope="module")
def heard(engine, clips):
    """Each clip by itself."""
    return [engine.transcribe(clip) for clip in clips]


@pytest.fixture
def whisper(engine):
    return engine._library


@pytest.mark.parametrize("other", OTHERS)
def test_its_errors_are_within_the_interval_of_the_others(prepared, model, clips, heard, other):
    truths = [clip.text for clip in read_clips(prepared.clips.folder)]
    peer = engines.load(engines.named(other), prepared.for_engines(), 1, "cpu")
    theirs = [peer.transcribe(clip).text for clip in clips]
    _, _, (low, high) = estimates.error_rate(*scoring.word_errors(truths, theirs))
    errors, words = scoring.word_errors(truths, [each.text for each in heard])
    assert low <= errors.sum() / words.sum() <= high < 0.3


def test_a_record_says_where_it_ran_and_that_a_batch_in_one_call_was_tried(prepared, tmp_path):
    folder = prepared.clips.folder
    two = tmp_path / "clips"
    two.mkdir()
    made = [
        save_clip(two, f"{number}.npy", np.load(folder / clip.file)[: 5 * SECOND], Known(id=clip.id, text="Now we are"))
        for number, clip in enumerate(read_clips(folder)[:2])
    ]
    ready = prepared.model_copy(update={"clips": PreparedClips(folder=two, facts=save_set(two, made))})
    settings = SETTINGS.model_copy(
        update={"variants": (NAME,), "controls": (), "repeats": 2, "batch_repeats": 1, "gpu_batch": 8}
    )
    (record,) = measure(settings, ready, tmp_path / "s.npz")
    assert (record.status, record.reason) == ("measured", None)
    assert record.detail["ran_on"] == "cpu, float32, 1 threads, 148.7 MB of weights"
    assert record.facts.provenance.versions.keys() == {NAME, "torch", "tiktoken", "greenlet"}
    tried = [(row["contexts"], row["threads"], row["at_once"]) for row in record.detail["batch"]["calibration"]]
    assert tried == [(1, 1, 1), (1, 1, 2)]
    assert record.detail["batch"]["at_once"] in (1, 2)
    assert {"xrt", "batch_xrt", "first_segment_latency"} <= set(record.metrics)
    assert record.metrics["peak_rss_bytes"].value > 4 * 37e6, "float32"


def test_a_batch_is_heard_like_its_clips(engine, clips, heard):
    """To the last time stamp: every window is 30 s long, filled up with silence, in a batch or not."""
    long = np.concatenate(clips)[: 45 * SECOND]
    odd = [long, np.zeros(2 * SECOND, dtype=np.float32), clips[2][: SECOND // 2]]
    together = engine.transcribe_together([*odd, *clips])
    assert together == [*map(engine.transcribe, odd), *heard]
    assert together[0].segments[-1].end > 40
    assert len({each.text for each in together}) >= len(clips) + 2


def test_windows_of_several_clips_are_decoded_in_one_call(engine, clips, monkeypatch):
    sizes = []
    decode = engine._model.decode
    monkeypatch.setattr(engine._model, "decode", lambda mel, options: sizes.append(len(mel)) or decode(mel, options))
    engine.transcribe_together([clips[0][: 10 * SECOND], np.concatenate(clips)[: 40 * SECOND], clips[1]])
    assert sizes[0] == 3
    assert set(sizes[1:]) == {1}, "only one of them has a second window"


def test_the_weights_are_those_of_the_file_to_the_bit(model, engine):
    """Read by a reader of its own; float32 holds every float16."""
    file = GgmlFile(model.ggml)
    state = engine._model.state_dict()
    assert set(state) == set(file.tensors)
    for name, tensor in file.tensors.items():
        loaded = state[name].numpy()
        assert loaded.dtype == np.float32
        assert np.array_equal(loaded.astype(tensor.dtype).view(np.uint8).ravel(), tensor.view(np.uint8).ravel()), name


def test_on_a_gpu_the_matrices_stay_as_they_are_in_the_file(model, whisper, torch):
    file = GgmlFile(model.ggml)
    state = openai_whisper._network(whisper, read_ggml(model.ggml), half=True).state_dict()
    for name, tensor in file.tensors.items():
        loaded = state[name].numpy()
        if tensor.dtype == np.float16:
            assert loaded.dtype == np.float16
            assert np.array_equal(loaded.view(np.uint16).ravel(), tensor.view(np.uint16).ravel()), name
        elif "_ln" in name or ".ln" in name or "positional" in name:
            assert loaded.dtype == np.float32, name


def test_a_clip_beyond_a_window_is_heard_to_its_end_and_its_first_segment_is_known_before(engine, clips, monkeypatch):
    long = np.concatenate(clips)[: 45 * SECOND]
    asked = []
    decode = engine._model.decode
    monkeypatch.setattr(engine._model, "decode", lambda *given: asked.append("window") or decode(*given))
    heard = engine.transcribe(long, lambda: asked.append("first segment"))
    assert asked[:3] == ["window", "first segment", "window"] and asked.count("first segment") == 1
    starts = [segment.start for segment in heard.segments]
    assert starts == sorted(starts) and 30 < heard.segments[-1].end <= 46
    assert engine.transcribe(np.zeros(SECOND, dtype=np.float32), lambda: asked.append("silence")).text == ""
    assert "silence" not in asked


def test_windows_with_several_candidates_are_decoded_one_at_a_time(model, clips, monkeypatch):
    """OpenAI's decoder cannot otherwise; and no record says that such a batch went in one call."""
    engine = engines.load(engines.named(NAME), model, 1, "cpu", Decoding(temperature_fallback=True))
    assert (engines.in_one_call(NAME, Decoding()), engines.in_one_call(NAME, Decoding(beam_size=2))) == (True, False)
    asked = []

    def decode(mel, options):
        asked.append((len(mel), options.temperature))
        result = SimpleNamespace(
            tokens=[], text="a", temperature=options.temperature, compression_ratio=9 - 20 * options.temperature,
            avg_logprob=-0.1, no_speech_prob=0.9,
        )  # fmt: skip
        return [result] * len(mel)

    monkeypatch.setattr(engine._model, "decode", decode)
    engine.transcribe_together([clips[1], clips[4]])
    assert asked == [(2, 0.0), (1, 0.2), (1, 0.2), (1, 0.4), (1, 0.4)]


def test_a_window_that_is_decoded_again_is_not_known_yet(engine, monkeypatch):
    """The callback comes with the first window that is kept: the next one begins at temperature 0."""
    told = []

    def transcribe(model, clip, **options):
        for temperature, text in ((0.0, "wrong"), (0.2, "right"), (0.0, "more")):
            told.append(temperature)
            model.decode(None, SimpleNamespace(temperature=temperature, text=text))
        return {"segments": [{"start": 0, "end": 1.5, "text": " right"}]}

    def decode(mel, options):
        return SimpleNamespace(text=options.text, no_speech_prob=0.1, avg_logprob=-0.2)

    monkeypatch.setattr(engine, "_library", SimpleNamespace(transcribe=transcribe))
    monkeypatch.setattr(engine, "_model", SimpleNamespace(decode=decode))
    assert engine.transcribe(np.zeros(9, dtype=np.float32), lambda: told.append("known")).text == "right"
    assert told == [0.0, 0.2, 0.0, "known"]


@pytest.mark.parametrize(
    ("decoding", "expected"),
    [
        (Decoding(), {"language": "en", "beam_size": None, "temperature": 0.0, "initial_prompt": None}),
        (
            Decoding("auto", 4, True, "Frau Öz"),
            {"language": None, "beam_size": 4, "temperature": (0.0, 0.2, 0.4, 0.6, 0.8, 1.0), "best_of": 5, "initial_prompt": "Frau Öz"},
        ),
    ],
)  # fmt: skip
def test_it_is_told_how_to_decode(model, clips, monkeypatch, decoding, expected):
    engine = engines.load(engines.named(NAME), model, 1, "cpu", decoding)
    given = []
    silent = SimpleNamespace(transcribe=lambda model, clip, **options: given.append(options) or {"segments": []})
    monkeypatch.setattr(engine, "_library", silent)
    engine.transcribe(clips[1])
    assert {name: given[0][name] for name in expected} == expected
    assert (given[0]["condition_on_previous_text"], given[0]["fp16"]) == (False, False)


@pytest.mark.parametrize(
    "decoding", [Decoding(beam_size=3), Decoding(initial_prompt="now we are all in lower case, without end")]
)
def test_beams_and_prompts_are_heard_alike_in_a_batch(model, clips, decoding):
    engine = engines.load(engines.named(NAME), model, 1, "cpu", decoding)
    batch = [clips[0][: 6 * SECOND], clips[1]]
    heard = engine.transcribe_together(batch)
    assert heard == [engine.transcribe(clip) for clip in batch]
    assert "engaged in a great civil war" in heard[0].text
    assert heard[0].text.startswith("now" if decoding.initial_prompt else "Now")


@pytest.fixture(scope="module")
def multilingual(model, tmp_path_factory):
    """The packaged weights in the frame of a multilingual model: languages are told apart by numbers drawn at random,
    and what is heard is nonsense."""
    import whisper

    source = read_ggml(model.ggml)
    rng = np.random.default_rng(5)
    english = source.tensors["decoder.token_embedding.weight"]
    embedding = (0.05 * rng.standard_normal((51_865, english.shape[1]))).astype(np.float16)
    embedding[-1501:] = english[-1501:]  # the time stamps
    spelling = whisper.tokenizer.get_tokenizer(True).encoding.decode_single_token_bytes
    path = tmp_path_factory.mktemp("multilingual") / "ggml-mine.bin"
    write_ggml(
        path, replace(source.hparams, n_vocab=51_865), source.mel, [spelling(i) for i in range(50_257)],
        dict(source.tensors) | {"decoder.token_embedding.weight": embedding},
    )  # fmt: skip
    return engines.Model(path, None, 51_865)


def test_a_multilingual_model_decodes_in_the_language_it_is_told(multilingual, clips, monkeypatch):
    engine = engines.load(engines.named(NAME), multilingual, 1, "cpu", Decoding("de"))
    asked = []
    decode = engine._model.decode

    def short(mel, options):
        asked.append(options.language)
        return decode(mel, replace(options, sample_len=3))

    monkeypatch.setattr(engine._model, "decode", short)
    engine.transcribe(clips[1])
    engine.transcribe_together(clips[:2])
    assert set(asked) == {"de"}


def test_the_language_is_found_out_for_each_clip_and_a_batch_holds_several(multilingual, clips, monkeypatch):
    engine = engines.load(engines.named(NAME), multilingual, 1, "cpu", Decoding("auto"))
    loud = np.random.default_rng(3).uniform(-1, 1, 5 * SECOND).astype(np.float32)
    batch = [clips[0], loud, clips[1]]
    asked = []
    decode = engine._model.decode

    def short(mel, options):
        asked.append((len(mel) if mel.ndim == 3 else 1, options.language))
        return decode(mel, replace(options, sample_len=3))

    sizes = []
    detect = engine._model.detect_language
    monkeypatch.setattr(engine._model, "decode", short)
    monkeypatch.setattr(engine._model, "detect_language", lambda mel: sizes.append(mel.shape) or detect(mel))
    for clip in batch:
        engine.transcribe(clip[: 9 * SECOND])
    alone = [language for _, language in asked]
    assert sizes == [(80, 3000)] * 3
    asked.clear(), sizes.clear()
    engine.transcribe_together([clip[: 9 * SECOND] for clip in batch])
    assert sizes == [(3, 80, 3000)], "in one call"
    assert sorted(language for size, language in asked for _ in range(size)) == sorted(alone)
    assert len(set(alone)) > 1, "this test needs clips that are taken for different languages"


@pytest.mark.parametrize("place", [11, 50_000])
def test_a_vocabulary_of_its_own_is_refused(model, tmp_path, place):
    """The package would spell its tokens as OpenAI's, without a word."""
    file, data = GgmlFile(model.ggml), bytearray(model.ggml.read_bytes())
    at = file.tokens_at + sum(4 + len(token) for token in file.tokens[:place]) + 4
    data[at] ^= 1
    mine = tmp_path / "ggml-mine.bin"
    mine.write_bytes(data)
    with pytest.raises(ArtifactError, match=r"OpenAI's vocabulary, and ggml-mine\.bin has another"):
        engines.load(engines.named(NAME), replace(model, ggml=mine), 1, "cpu")


def test_mel_filters_of_its_own_are_refused(model, tmp_path):
    data = bytearray(model.ggml.read_bytes())
    at = GgmlFile(model.ggml).mel_at
    data[at + 4 : at + 8] = np.float32(0.5).tobytes()
    mine = tmp_path / "ggml-mine.bin"
    mine.write_bytes(data)
    with pytest.raises(ArtifactError, match=r"OpenAI's mel filters, and ggml-mine\.bin has another"):
        engines.load(engines.named(NAME), replace(model, ggml=mine), 1, "cpu")


def test_a_gpu_that_is_asked_for_and_not_there_is_no_measurement(model, torch):
    if torch.cuda.is_available():
        assert torch.cuda.get_device_name() in engines.load(engines.named(NAME), model, 1, "gpu").ran_on
    else:
        assert "sees no CUDA device" in str(engines.unavailable(NAME, "gpu", model))
        with pytest.raises(NotMeasured, match="asked for the gpu, and torch .* sees none"):
            engines.load(engines.named(NAME), model, 1, "gpu")


def test_weights_that_are_not_where_they_were_wanted_are_no_measurement(engine):
    with pytest.raises(NotMeasured, match=r"asked for the gpu and its weights are on cpu \(200,000,000 of"):
        openai_whisper.proven(engine._model, "gpu", 200_000_000)
    assert openai_whisper.proven(engine._model, "cpu", 0) == engine.ran_on


def test_fewer_bytes_on_the_gpu_than_the_weights_have_are_no_measurement():
    weight = SimpleNamespace(device=SimpleNamespace(type="cuda"), nbytes=1000)
    network = SimpleNamespace(parameters=lambda: [weight, weight], buffers=lambda: [weight])
    with pytest.raises(NotMeasured, match=r"on cuda \(1,999 of 2,000 bytes allocated on a GPU\)"):
        openai_whisper.proven(network, "gpu", 1999)


@pytest.mark.parametrize("call", ["transcribe", "transcribe_together"])
def test_what_torch_cannot_do_names_the_clip(engine, clips, monkeypatch, call):
    def full(*_):
        raise RuntimeError("CUDA out of memory.\nTried to allocate")

    monkeypatch.setattr(engine._model, "decode", full)
    given = clips[1][: 2 * SECOND]
    with pytest.raises(NotMeasured, match=r"failed on a (clip of 2\.0 s|batch of 2 clips) \(CUDA out of memory\.\)$"):
        engine.transcribe(given) if call == "transcribe" else engine.transcribe_together([given, given])
