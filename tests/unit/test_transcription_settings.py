"""What may be asked of the transcription benchmark, and what is refused before anything starts."""

import json
import struct
import wave

import pytest
from pydantic import ValidationError

from nightgate import steps
from nightgate.errors import InputError
from nightgate.suite import Limit, parse_overrides
from nightgate.transcription import engines, looking
from nightgate.transcription.detail import DecodingDetail
from nightgate.transcription.models import look, published
from nightgate.transcription.models.ggml_layout import Hparams
from nightgate.transcription.plugin import BENCHMARK
from nightgate.transcription.settings import Settings

OLD, NEW, PEER = "whisper-cpp-python", "pywhispercpp", "faster-whisper"


def header(n_vocab=51_865, ftype=1):
    """A file that begins as a model does, and ends there."""
    return struct.pack("<12i", 0x67676D6C, n_vocab, 1500, 384, 6, 4, 448, 384, 6, 4, 80, ftype)


@pytest.fixture
def model(tmp_path, monkeypatch):
    """``model(n_vocab=…, ftype=…)``: a file that is walked as if it were whole."""

    def write(**facts):
        path = tmp_path / "ggml-mine.bin"
        path.write_bytes(header(**facts))
        known = Hparams(*struct.unpack("<11i", header(**facts)[4:]))
        monkeypatch.setattr(look, "validate_ggml", lambda _: known)
        return str(path)

    return write


@pytest.fixture
def clips(tmp_path):
    """``clips(text, …)``: a manifest with as many files."""

    def write(*texts):
        rows = []
        for number, text in enumerate(texts):
            with wave.open(str(tmp_path / f"{number}.wav"), "wb") as file:
                file.setparams((1, 2, 16_000, 0, "NONE", ""))
                file.writeframes(bytes([number, 0]) * 16_000)
            rows.append(json.dumps({"audio_filepath": f"{number}.wav", "text": text}))
        manifest = tmp_path / "clips.jsonl"
        manifest.write_text("\n".join(rows))
        return str(manifest)

    return write


def settings(**values):
    return Settings(**{"variants": (NEW,), **values})


def looked(**values):
    """What preflight finds; it travels with the plan."""
    found = BENCHMARK.look(settings(**values), {})
    return BENCHMARK.looked.model_validate_json(found.model_dump_json())


def needs(**values):
    return BENCHMARK.needs(settings(**values), looked(**values))


def applicable(limits, **values):
    return BENCHMARK.applicable(settings(**values), looked(**values), limits)


def refused(**values):
    """By the settings themselves, without a look at any file."""
    with pytest.raises(ValidationError) as caught:
        settings(**values)
    return str(caught.value)


def refused_by_look(**values):
    asked = settings(**values)
    with pytest.raises(InputError) as caught:
        BENCHMARK.look(asked, {})
    return str(caught.value)


def test_as_it_stands_it_is_greedy_english():
    assert settings().decoding == engines.GREEDY
    assert DecodingDetail.of(settings().decoding).model_dump() == {
        "strategy": "greedy", "beam_size": 1, "best_of": 1, "temperature": 0.0, "temperature_inc": 0.0,
        "language": "en", "initial_prompt": None, "no_context": True, "vad": False,
    }  # fmt: skip


def test_what_is_asked_for_reaches_the_engines(tmp_path, clips):
    (tmp_path / "vad.bin").write_bytes(b"")
    asked = settings(
        clips=clips("ja"), language="de", beam_size=5, temperature_fallback=True, initial_prompt="Müller", vad=True,
        vad_model=str(tmp_path / "vad.bin"),
    )  # fmt: skip
    assert asked.decoding == engines.Decoding("de", 5, True, "Müller", True, str(tmp_path / "vad.bin"))
    assert DecodingDetail.of(asked.decoding).model_dump() == {
        "strategy": "beam_search", "beam_size": 5, "best_of": 5, "temperature": 0.0, "temperature_inc": 0.2,
        "language": "de", "initial_prompt": "Müller", "no_context": True, "vad": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("language", "says"),
    [
        ("german", "did you mean 'de' (german)?"),
        ("dee", "'de'"),
        ("EN", "'en'"),
        ("de-DE", "'de'"),
        ("", "did you mean"),
    ],
)
def test_an_unknown_language_gets_the_nearest(clips, language, says):
    found = refused(clips=clips("ja"), language=language)
    assert "no language code of Whisper's" in found
    assert says in found


def test_norwegian_is_a_language_and_not_a_no(clips, model):
    """YAML reads a bare ``no`` as false."""
    asked = parse_overrides(["transcription.language=no"])
    assert settings(clips=clips("ja"), model=model(), language=asked["transcription.language"]).language == "no"
    with pytest.raises(ValidationError):
        settings(clips=clips("ja"), language=True)


@pytest.mark.parametrize("language", ["de", "auto", "zh"])
@pytest.mark.parametrize("name", ["tiny.en", "small.en-q5_1", None])
def test_an_english_model_hears_no_other_language(clips, model, language, name):
    name = name or model(n_vocab=51_864)
    found = refused_by_look(clips=clips("ja"), language=language, model=name)
    assert f"transcription.language={language}" in found
    assert "knows English only" in found and "multilingual" in found


@pytest.mark.parametrize("name", ["base", "large-v3-turbo-q8_0", None])
def test_a_multilingual_model_hears_any(clips, model, name):
    for language in ("de", "auto", "en"):
        values = {"clips": clips("ja"), "language": language, "model": name or model(n_vocab=51_865)}
        assert settings(**values).decoding.language == language
        assert needs(**values).memory > 2**30, "beside what every benchmark needs, the model"


def test_cantonese_came_with_large_v3(clips, model):
    for known in ("large-v3-q5_0", model(n_vocab=51_866)):
        assert looked(clips=clips("ja"), language="yue", model=known).model.knows_cantonese
    for unknown in ("large-v2", model(n_vocab=51_865)):
        assert "does not know Cantonese" in refused_by_look(clips=clips("ja"), language="yue", model=unknown)
    assert "does not know yue" in refused(clips=clips("ja"), language="yue", model="large-v3", variants=(OLD,))


def test_the_packaged_clips_are_english():
    assert "the packaged clips are English" in refused(language="de", model="base")
    assert looked(language="auto", model="base").clips is None


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"beam_size": 0}, "greater than or equal to 1"), ({"beam_size": 9}, "less than or equal to 8"),
        ({"initial_prompt": " "}, "holds no text"), ({"initial_prompt": "a\0b"}, "zero byte"),
        ({"initial_prompt": "x" * 801}, "at most 800"),
    ],
)  # fmt: skip
def test_bounds(values, says):
    assert says in refused(**values)
    settings(beam_size=8, initial_prompt="x" * 800)


def test_an_engine_that_cannot_decode_so_is_refused_by_name(tmp_path):
    (tmp_path / "vad.bin").write_bytes(b"")
    assert "whisper-cpp-python has no voice activity detection" in refused(variants=(PEER, OLD), vad=True)
    assert "pywhispercpp needs a model of its own" in refused(variants=(NEW,), vad=True)
    assert "vad is not set" in refused(vad_model=str(tmp_path / "vad.bin"))
    assert settings(variants=(PEER,), controls=(OLD,), vad=True).decoding.vad, "a control is skipped, with the reason"


@pytest.mark.parametrize(
    "content",
    [
        None, b"", b"lmgg", header(), struct.pack("<2i", 0x67676D6C, 10) + b"whisper-xx", b"xxxx\x0a\0\0\0silero-16k",
        struct.pack("<2i", 0x67676D6C, 65) + b"silero" + b"-" * 59, struct.pack("<2i", 0x67676D6C, 0) + b"silero-16k",
        struct.pack("<2i", 0x67676D6C, -1) + b"silero-16k",
    ],
)  # fmt: skip
def test_a_detector_that_is_none(tmp_path, content):
    path = tmp_path / "vad.bin"
    if content is not None:
        path.write_bytes(content)
    assert f"transcription.vad_model={path}" in refused_by_look(variants=(NEW,), vad=True, vad_model=str(path))


@pytest.mark.parametrize("length", [10, 64])
def test_a_detector(tmp_path, length):
    (tmp_path / "vad.bin").write_bytes(struct.pack("<2i", 0x67676D6C, length) + b"silero-16k".ljust(length) + bytes(9))
    assert needs(vad=True, vad_model=str(tmp_path / "vad.bin")) == needs(), "it is looked at, and is not refused"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"GGUF\x03\0\0\0" + bytes(99), "a GGUF file"),
        (struct.pack("<Q", 900) + b'{"__metadata__"', "a safetensors file"),
        (b"PK\x03\x04" + bytes(99), "a PyTorch checkpoint"),
        (b"\x80\x02}q\0", "a PyTorch checkpoint"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "a Git LFS pointer"),
        (b"\n<!DOCTYPE html><html>", "a web page"),
        (b'{"error": "not found"}', "a JSON file"),
        (b"\x1f\x8b\x08", "a packed file"),
        (b"\x06\0\0\0\x0c\0WhisperSpec\0", "a CTranslate2 model"),
        (b"\x08\x07\x12\x07pytorch" + b"onnx", "an ONNX model"),
        (struct.pack("<2i", 0x67676D6C, 10) + b"silero-16k", "voice activity"),
        (b"tjgg" + bytes(99), "another format"),
        (b"", "an empty file"),
        (b"hello, I am no model", "starts with b'hell'"),
        (header()[:20], "ends inside"),
        (header(), "ends inside"),
        (header(n_vocab=32_000), "n_vocab is 32000"),
        (header(ftype=0), "its file type is 0"),
    ],
)
def test_a_file_that_is_no_model_is_the_users_mistake_before_anything_starts(tmp_path, content, says):
    path = tmp_path / "mine.bin"
    path.write_bytes(content)
    with pytest.raises(InputError, match="transcription.model") as caught:
        looked(model=str(path))
    assert says in str(caught.value)
    assert str(path) in str(caught.value)
    assert caught.value.next_step


def test_what_is_no_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    found = refused_by_look(model=str(tmp_path / "folder"))
    assert "is a folder. Next step: give a ggml file, as" in found
    (tmp_path / "folder" / "b.bin").write_bytes(header())
    (tmp_path / "folder" / "a.bin").write_bytes(b"GGUF")
    assert "a ggml file in it, such as b.bin" in refused_by_look(model=str(tmp_path / "folder"))
    assert "it is an address" in refused(model="https://huggingface.co/ggml-base.bin")
    assert f"transcription.model={tmp_path}/tinny.en is neither" in refused_by_look(model="tinny.en")
    assert "did you mean 'tiny.en'?" in refused_by_look(model="tinny.en")
    assert "did you mean 'base.en'?" in refused_by_look(model="/models/ggml-base.en.bin")
    assert "did you mean" not in refused_by_look(model=str(tmp_path / "nothing.bin"))
    for name in ("x" * 5000, "a\0b"):
        assert refused_by_look(model=name)
    assert refused(model="~nobody-of-that-name/m.bin")


def test_settings_say_and_do_not_look(tmp_path):
    """They are read again in the middle of a night, when what they name may be gone."""
    gone = settings(
        model=str(tmp_path / "m.bin"), clips=str(tmp_path / "clips"), exclude=("a",), vad=True,
        vad_model=str(tmp_path / "vad.bin"),
    )  # fmt: skip
    assert Settings.model_validate(gone.model_dump(mode="json")) == gone


def test_the_published_names_tell_their_kind():
    kinds = {name: look.look_at(name) for name in published.NAMES}
    assert {name for name, kind in kinds.items() if kind.english_only} == {n for n in kinds if ".en" in n}
    assert {name for name, kind in kinds.items() if kind.knows_cantonese} == {n for n in kinds if "-v3" in n}
    assert kinds["tiny.en"] == look.Kind(51_864, 1, 77_704_715)
    assert kinds["small-q5_1"] == look.Kind(51_865, 9, 190_085_487)
    assert kinds["large-v3-q5_0"] == look.Kind(51_866, 8, 1_081_140_203)
    assert kinds["medium.en-q8_0"].ftype == 7


def test_a_model_that_no_gated_engine_reads_is_refused_and_one_that_some_do_not_is_warned_of(model):
    quantised = model(n_vocab=51_864, ftype=2009)
    found = refused_by_look(model=quantised, variants=(OLD, PEER))
    assert "no gated engine reads" in found and "quantised" in found and "CTranslate2" in found
    assert "51866 tokens" in refused_by_look(model="large-v3", variants=(OLD,))
    (warning,) = looked(model=quantised, variants=(OLD, NEW)).warnings
    assert "quantised weights of ggml-mine.bin; so it will be skipped" in warning
    assert looked(model=quantised, variants=(NEW,), controls=(OLD,)).warnings == ()


def test_what_is_gated_on_a_gpu_only():
    given = settings(gpu_variants=("openai-whisper", NEW), controls=("openai-whisper", PEER))
    assert (given.gated("cpu"), given.beside("cpu")) == ((NEW,), ("openai-whisper", PEER))
    assert (given.gated("gpu"), given.beside("gpu")) == ((NEW, "openai-whisper"), (PEER,))
    assert Settings.only(NEW) == {"variants": [NEW], "controls": [], "gpu_variants": []}
    assert "no variant 'openai-whisprer'; did you mean 'openai-whisper'" in refused(gpu_variants=("openai-whisprer",))


def test_what_is_gated_on_a_gpu_only_and_cannot_read_the_model_is_warned_of(model):
    (warning,) = looked(model=model(n_vocab=51_864, ftype=2009), gpu_variants=("openai-whisper", NEW)).warnings
    assert "weights of ggml-mine.bin are quantised; so it will be skipped on a GPU" in warning
    both = looked(model=model(n_vocab=51_864, ftype=2009), variants=(NEW, OLD), gpu_variants=("openai-whisper", OLD))
    assert [each.split()[0] for each in both.warnings] == [OLD, "openai-whisper"], "each once"


def test_what_cannot_detect_voices_is_no_reason_to_refuse_the_cpu():
    assert settings(variants=(PEER,), gpu_variants=("openai-whisper",), vad=True).decoding.vad
    assert "openai-whisper has no voice activity detection" in refused(variants=("openai-whisper",), vad=True)


def test_the_room_it_takes_follows_from_the_size_of_the_model(model):
    path = model()
    found = needs(model=path)
    assert (found.disk, found.memory) == (2**29 + 48, 2**30 + 2 * 48)
    assert needs(model="base").disk == 2**29 + 147_951_465
    assert (needs().disk, needs().memory) == (2**29, 2**30)


LIMITS = {"wer": {"cpu": Limit(op="<=", limit=0.15)}, "xrt": {"cpu": Limit(op="<=", limit=2)}}


def test_an_objective_on_words_holds_for_characters_where_words_cannot_be_counted(clips):
    german = {"clips": clips("ja"), "language": "de", "model": "base"}
    assert applicable(LIMITS, **german) == LIMITS
    chinese = {"clips": clips("今天"), "language": "zh", "model": "base"}
    assert applicable(LIMITS, **chinese) == {"cer": LIMITS["wer"], "xrt": LIMITS["xrt"]}
    own = {**LIMITS, "cer": {"cpu": Limit(op="<=", limit=0.3)}}
    assert applicable(own, **chinese) == {"cer": own["cer"], "xrt": LIMITS["xrt"]}
    assert applicable({"xrt": LIMITS["xrt"]}, **chinese) == {"xrt": LIMITS["xrt"]}


@pytest.mark.parametrize(
    ("texts", "left_out", "judged"),
    [
        (["今天天气很好", "ok"], (), "cer"),
        (["今天", "it is a fine day"], (), "wer"),
        (["今天天气很好", "it is a fine day today"], (), "wer"),
        (["今天天气很好", "it is a fine day today"], ("1",), "cer"),  # what is left out does not count
    ],
)
def test_under_auto_most_of_the_text_decides(clips, texts, left_out, judged):
    values = {"clips": clips(*texts), "language": "auto", "exclude": left_out, "model": "base"}
    assert set(applicable(LIMITS, **values)) == {judged, "xrt"}
    assert looked(**values).clips == len(texts) - len(left_out)


def test_the_plan_says_what_will_be_judged(clips, tmp_path, monkeypatch):
    monkeypatch.setenv("NIGHTGATE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NIGHTGATE_RUNS", str(tmp_path / "runs"))
    (tmp_path / "home").mkdir()
    overrides = {"transcription.clips": clips("今天"), "transcription.language": "ja", "transcription.model": "base"}
    plan = steps.preflight(
        "run-1",
        dag_id="x",
        scale="smoke",
        only=["transcription"],
        overrides=overrides | {"objectives.transcription.wer": 0.3},
    )
    assert plan.objectives["transcription"]["cer"]["cpu"] == Limit(op="<=", limit=0.3)
    assert "wer" not in plan.objectives["transcription"]
    assert list(plan.objectives) == ["transcription"]


def test_clips_labelled_with_another_language_are_refused(clips, monkeypatch):
    real = looking.read_manifest

    class Labelled:
        def __init__(self, entry):
            self.id, self.text, self.language = entry.id, entry.text, {"1": "de", "2": None}.get(entry.id, "en")
            self.duration = 1.0

    monkeypatch.setattr(looking, "read_manifest", lambda *given: [Labelled(entry) for entry in real(*given)])
    found = refused_by_look(clips=clips("yes", "ja", "so"))
    assert "the clip 1 is in de (german)" in found and "transcription.exclude" in found
    assert looked(clips=clips("yes", "ja", "so"), exclude=("1",)).clips == 2
    assert looked(clips=clips("yes", "ja", "so"), language="auto", model="base").clips == 3


def test_german_texts_are_not_taken_for_english(clips):
    german = clips("Ich weiß nicht, wie das auf Dauer gehen soll.", "Es war einmal ein König, und er war alt.")
    found = refused_by_look(clips=german)
    assert "the texts of the clips look german (de), and language is en" in found
    assert looked(clips=german, language="de", model="base").clips == 2
    assert looked(clips=german, language="auto", model="base").clips == 2
    assert "not written in Latin letters" in refused_by_look(clips=clips("今天天气很好"))
