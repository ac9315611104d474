"""What a record says of what its processes answered, without an engine: the child process is replaced."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from support import gone
from support.speech import measure, prepare

from nightgate.artifacts.cache import Cache
from nightgate.errors import ChildError, InputError, NotMeasured, Unavailable
from nightgate.judge import judge
from nightgate.measure import devices
from nightgate.measure.child import ChildResult
from nightgate.record import STORED, Gpu, Record
from nightgate.suite import Limit
from nightgate.transcription import engines, measuring, preparing
from nightgate.transcription.clips.folder import ClipFacts, SavedClip, save_set
from nightgate.transcription.engines import Segment, Transcript
from nightgate.transcription.engines.openai_whisper import OpenAIWhisper
from nightgate.transcription.engines.pywhispercpp import PyWhisperCpp
from nightgate.transcription.engines.whisper_cpp_python import WhisperCppPython
from nightgate.transcription.models.resolve import ResolvedModel
from nightgate.transcription.prepared import PreparedClips, TranscriptionPrepared
from nightgate.transcription.settings import Settings
from nightgate.transcription.timed import InBatchesAnswer, OneByOne, OneByOneAnswer, Way, one_by_one

TESTS = Path(__file__).resolve().parents[1]

OLD, NEW, PEER, TORCH = "whisper-cpp-python", "pywhispercpp", "faster-whisper", "openai-whisper"
BOTH = Settings(variants=(OLD,), controls=(NEW,), threads=2, gpu_batch=8, batch_seconds=20)
GOOD = ["red green blue", "Red, green; black.", "red green blue", "red green blue", "red green blue"]


@pytest.fixture
def prepared(tmp_path):
    folder = tmp_path / "clips"
    folder.mkdir()
    facts = save_set(
        folder,
        [
            SavedClip(id=f"clip-{i}", file=f"{i}.npy", seconds=10.0, sha256=f"{i}", text="red green blue")
            for i in range(1, 6)
        ],
    )
    model = ResolvedModel(name="m", path="m.bin", source="file", bytes=1, sha256="0", n_vocab=51_864, ftype=1)
    return TranscriptionPrepared(model=model, clips=PreparedClips(folder=folder, facts=facts))


def model_is(prepared, **facts):
    return prepared.model_copy(update={"model": prepared.model.model_copy(update=facts)})


@dataclass(frozen=True)
class Asked:
    """One process that was asked for."""

    function: str
    request: object
    limits: dict

    @property
    def variant(self):
        return self.request.work.engine.name


def answer_to(request, texts):
    if isinstance(request, OneByOne):
        shape = (request.repeats, len(request.work.clips))
        return OneByOneAnswer(
            versions={"a-library": "1"},
            ran_on="cpu",
            load_seconds=0.5,
            durations_ns=np.full(shape, 2_000_000_000),
            first_segment_ns=np.full(shape, 500_000_000),
            transcripts=tuple(Transcript((Segment(0.0, 1.0, text),)) for text in texts),
        )
    return InBatchesAnswer(
        trials=(), way=Way(2, 1), ran_on="cpu", seconds=np.array([2.0, 2.5, 3.0]),
        texts=tuple(texts[: len(request.work.clips)]),
    )  # fmt: skip


@pytest.fixture
def child(monkeypatch):
    """``child(answers)``: variant → its texts, or the error it dies of. Returns what was asked, as it is asked."""

    def replace(answers, batches=None):
        asked = []

        def run(function, request, **limits):
            asked.append(Asked(function.__name__, request, limits))
            answer = (batches if batches and function.__name__ == "in_batches" else answers)[asked[-1].variant]
            if isinstance(answer, Exception):
                raise answer
            return ChildResult(answer_to(request, answer), 1000, 1.0)

        monkeypatch.setattr(measuring, "run_child", run)
        return asked

    return replace


def test_the_figures_follow_from_what_was_measured(prepared, tmp_path, child):
    child({OLD: GOOD, NEW: GOOD})
    first, second = measure(BOTH, prepared, tmp_path / "s.npz")
    assert first.status == second.status == "measured"
    value = {name: metric.value for name, metric in first.metrics.items()}
    assert value["xrt"] == pytest.approx(5 * 2 / 50)
    assert value["rtfx"] == pytest.approx(5)
    assert value["xrt_p95"] == pytest.approx(0.2)
    assert value["first_segment_latency"] == pytest.approx(0.5)
    assert value["wer"] == pytest.approx(1 / 15)
    assert first.metrics["xrt"].n == 5
    assert first.metrics["wer"].ci95[0] <= 1 / 15 <= first.metrics["wer"].ci95[1]
    # a batch holds two clips, so 20 s are two of them; alone they took 4 s, together 2.5 s
    assert first.detail["batch"]["clips"] == 2
    assert value["batch_xrt"] == pytest.approx(2.5 / 20)
    assert value["batch_rtfx"] == pytest.approx(8)
    assert first.detail["batch"]["speedup_over_one_by_one"] == pytest.approx(4 / 2.5)
    assert first.detail["batch_size_cpu"] == 2


def test_a_record_says_what_it_was_measured_with(prepared, tmp_path, child):
    child({OLD: GOOD, NEW: GOOD})
    gated, control = measure(BOTH, prepared, tmp_path / "s.npz")
    assert (gated.gated, control.gated) == (True, False)
    assert gated.facts.inputs == {"clips": prepared.clips.facts.sha256, "model": "0"}
    assert gated.facts.threads == 2
    assert gated.facts.provenance.versions == {"a-library": "1"}
    batch = gated.detail.pop("batch")
    assert batch.keys() == {
        "size", "clips", "audio_seconds", "contexts", "threads", "at_once", "calibration", "speedup_over_one_by_one", "wer",
        "peak_rss_bytes",
    }  # fmt: skip
    assert gated.detail == {
        "model": {"name": "m", "source": "file", "bytes": 1, "sha256": "0"},
        "clips": {
            "count": 5, "repeated": 0, "seconds": 50.0, "shortest_seconds": 10.0, "longest_seconds": 10.0,
            "sha256": prepared.clips.facts.sha256, "ids": [f"clip-{number}" for number in range(1, 6)],
        },
        "audio_seconds": 50.0,
        "batch_size_cpu": 2,
        "decoding": {
            "strategy": "greedy", "beam_size": 1, "best_of": 1, "temperature": 0.0, "temperature_inc": 0.0,
            "language": "en", "initial_prompt": None, "no_context": True, "vad": False,
        },
        "scoring": {"normaliser": "Whisper's English normaliser", "judged_by": "wer"},
        "ran_on": "cpu",
    }  # fmt: skip
    read = Record.model_validate_json(gated.model_dump_json(), context=STORED)
    assert read == gated, "nothing in it is moved when it is read"


def test_the_repeats_are_split_between_two_processes_and_the_engines_take_turns(prepared, tmp_path, child):
    requests = child({OLD: GOOD, NEW: GOOD})
    measure(BOTH, prepared, tmp_path / "s.npz")
    turns = [(asked.variant, asked.request.repeats) for asked in requests if asked.function == "one_by_one"]
    assert turns == [(OLD, 3), (NEW, 3), (NEW, 2), (OLD, 2)]


def test_raw_samples_are_kept(prepared, tmp_path, child):
    child({OLD: GOOD, NEW: GOOD})
    first, _ = measure(BOTH, prepared, tmp_path / "s.npz")
    with np.load(tmp_path / first.samples) as raw:
        assert raw[f"{OLD}/durations_ns"].shape == raw[f"{OLD}/first_segment_ns"].shape == (5, 5)
        assert raw[f"{OLD}/xrt_repeats"] == pytest.approx([0.2] * 5)
        assert raw[f"{OLD}/wer_errors"].tolist() == [0, 1, 0, 0, 0]
        assert raw[f"{OLD}/wer_words"].tolist() == [3] * 5
        assert raw[f"{OLD}/batch_seconds"].tolist() == [2.0, 2.5, 3.0]


def test_transcripts_are_kept_raw(prepared, tmp_path, child):
    child({OLD: GOOD, NEW: GOOD})
    measure(BOTH, prepared, tmp_path / "s.npz")
    rows = [json.loads(line) for line in (tmp_path / f"s-{OLD}.jsonl").read_text().splitlines()]
    assert len(rows) == 5
    assert rows[1] == {
        "audio_filepath": "2.npy", "id": "clip-2", "duration": 10.0, "time": 2.0, "text": "red green blue",
        "pred_text": "Red, green; black.", "segments": [[0.0, 1.0, "Red, green; black."]],
    }  # fmt: skip


def test_a_clip_without_text_counts_with_its_words_and_takes_nothing_with_it(prepared, tmp_path, child):
    child({OLD: ["red green blue", "", *GOOD[2:]], NEW: GOOD})
    first, second = measure(BOTH, prepared, tmp_path / "s.npz")
    assert (first.status, second.status) == ("measured", "measured")
    assert first.metrics["wer"].value == pytest.approx(3 / 15)
    assert second.metrics["wer"].value == pytest.approx(1 / 15)
    assert first.detail["heard_nothing_in"] == ["clip-2"]
    assert "heard_nothing_in" not in second.detail


def test_an_engine_that_hears_nothing_at_all_fails_alone(prepared, tmp_path, child):
    child({OLD: [""] * 5, NEW: GOOD})
    bad, fine = measure(BOTH, prepared, tmp_path / "s.npz")
    assert (bad.status, bad.metrics) == ("failed", {})
    assert "returned no text for any of the 5 clips" in bad.reason
    assert fine.status == "measured"


@pytest.mark.parametrize("error", [ChildError("was ended by SIGABRT"), NotMeasured("no memory")])
def test_batches_that_fail_leave_the_numbers_of_one_by_one(prepared, tmp_path, child, error):
    child({OLD: GOOD, NEW: GOOD}, batches={OLD: error, NEW: GOOD})
    first, second = measure(BOTH, prepared, tmp_path / "s.npz")
    assert (first.status, first.reason) == ("measured", None)
    assert first.metrics["wer"].value == pytest.approx(1 / 15)
    assert first.facts.not_measured == {"batch": error.what}
    assert "batch_xrt" not in first.metrics
    assert "batch_xrt" in second.metrics and second.facts.not_measured == {}


def test_the_second_process_that_dies_fails_its_engine_alone(prepared, tmp_path, child, monkeypatch):
    child({OLD: GOOD, NEW: GOOD})
    fake, calls = measuring.run_child, []

    def dies(function, request, **limits):
        calls.append(request.work.engine.name)
        if calls.count(OLD) == 2 and calls[-1] == OLD:
            raise ChildError("was ended by SIGSEGV")
        return fake(function, request, **limits)

    monkeypatch.setattr(measuring, "run_child", dies)
    first, second = measure(BOTH, prepared, tmp_path / "s.npz")
    assert (first.status, first.reason, first.metrics) == ("failed", "was ended by SIGSEGV", {})
    assert second.status == "measured"


@pytest.mark.parametrize(
    ("marks", "end", "says"),
    [
        ([2, 1, 0, 0, 0], "abort", r"^pywhispercpp failed on the clip clip-2: support\.gone:abort was ended by SIGABRT"),
        ([2, 1, 1, 0, 0], "abort", r"^pywhispercpp failed on the clip clip-2 or clip-3: support\.gone:abort was ended by"),
        ([2, 0, 0, 0, 0], "abort", r"^support\.gone:abort was ended by SIGABRT"),
        ([], "leave", r"^support\.gone:leave ended with code 3"),
        ([1, 2, 2, 2, 2], "hang", r"^pywhispercpp failed on the clip clip-1: support\.gone:hang did not finish within 2 s"),
        ([0, 0, 1, 0, 0], "fail", r"^pywhispercpp failed on the clip clip-3: code -6. Next step: do this"),
    ],
)  # fmt: skip
def test_a_process_that_is_gone_names_the_clip_it_was_at(prepared, tmp_path, monkeypatch, marks, end, says):
    monkeypatch.setenv("PYTHONPATH", f"{TESTS}:{TESTS.parent / 'include'}")
    real, timeouts = measuring.run_child, []

    def run(function, request, *, timeout, **limits):
        assert function is one_by_one
        timeouts.append(timeout)
        leaving = gone.Leaving(request.work.progress, bytes(marks))
        return real(getattr(gone, end), leaving, timeout=2 if end == "hang" else 60, **limits)

    monkeypatch.setattr(measuring, "run_child", run)
    (record,) = measure(BOTH.model_copy(update={"variants": (NEW,), "controls": ()}), prepared, tmp_path / "s.npz")
    assert record.status == "failed"
    assert re.match(says, record.reason), record.reason
    assert timeouts == [120 + 20 * 50 * 4], "three repeats and what warms"


def test_the_child_is_told_how_to_decode_and_where_the_clips_are(prepared, tmp_path, child):
    requests = child({OLD: GOOD, NEW: GOOD})
    settings = BOTH.model_copy(update={"language": "de", "beam_size": 3})
    first, _ = measure(settings, prepared, tmp_path / "s.npz")
    for asked in requests:
        assert asked.request.work.decoding == engines.Decoding(language="de", beam_size=3)
        assert (asked.request.work.threads, asked.limits["threads"], asked.limits["device"]) == (2, 2, "cpu")
    assert requests[0].request.work.clips == tuple(prepared.clips.folder / f"{number}.npy" for number in range(1, 6))
    assert first.settings["language"] == "de"
    assert first.detail["decoding"]["beam_size"] == 3
    assert first.detail["scoring"] == {
        "normaliser": "Whisper's basic normaliser, diacritics and combining marks kept", "judged_by": "wer",
    }  # fmt: skip


def test_a_record_says_by_what_its_errors_were_judged(prepared, tmp_path, child):
    child({OLD: GOOD, NEW: GOOD})
    first, _ = measure(BOTH.model_copy(update={"language": "ja"}), prepared, tmp_path / "s.npz")
    assert first.detail["scoring"]["judged_by"] == "cer"
    limit = {"cer": {"cpu": Limit(op="<=", limit=0.9)}}
    (verdict,) = judge(first, limit, gated=True)
    assert (verdict.metric, verdict.value, verdict.verdict) == ("cer", first.metrics["cer"].value, "pass")


def test_a_dead_engine_does_not_take_the_other_with_it_and_is_not_tried_again(prepared, tmp_path, child):
    requests = child({OLD: ChildError("was ended by SIGSEGV"), NEW: GOOD})
    dead, good = measure(BOTH, prepared, tmp_path / "s.npz")
    assert (dead.status, dead.reason, dead.samples) == ("failed", "was ended by SIGSEGV", None)
    assert good.status == "measured"
    assert [asked.variant for asked in requests].count(OLD) == 1
    with np.load(tmp_path / good.samples) as raw:
        assert {name.split("/")[0] for name in raw} == {NEW}


def test_an_engine_that_hears_something_else_the_second_time_is_named(prepared, tmp_path, child, monkeypatch):
    child({OLD: GOOD, NEW: GOOD})
    spoken = iter([GOOD, ["red green blue", "red green green", *GOOD[2:]]])
    real = measuring.run_child

    def moody(function, request, **limits):
        if function is one_by_one and request.work.engine is WhisperCppPython:
            return ChildResult(answer_to(request, next(spoken)), 1000, 1.0)
        return real(function, request, **limits)

    monkeypatch.setattr(measuring, "run_child", moody)
    first, second = measure(BOTH, prepared, tmp_path / "s.npz")
    assert first.detail["heard_differently_the_second_time"] == ["clip-2"]
    assert "heard_differently_the_second_time" not in second.detail


def test_an_engine_that_is_not_installed_is_skipped_with_the_install_line(prepared, tmp_path, child, monkeypatch):
    requests = child({OLD: GOOD, NEW: GOOD})
    monkeypatch.setattr(PyWhisperCpp, "package", "pywhispercpp-that-is-not-there")
    first, second = measure(BOTH, prepared, tmp_path / "s.npz")
    assert first.status == "measured"
    assert second.status == "skipped"
    assert "not installed" in second.reason and "pip install pywhispercpp" in second.reason
    assert all(asked.variant == OLD for asked in requests)


@pytest.mark.parametrize("absent", ["package", "requires"])
def test_torch_that_is_not_installed_is_skipped_with_the_install_line(prepared, tmp_path, child, monkeypatch, absent):
    child({OLD: GOOD})
    value = {"package": "whisper-that-is-not-there", "requires": ("torch-that-is-not-there",)}[absent]
    monkeypatch.setattr(OpenAIWhisper, "requires", ())
    monkeypatch.setattr(OpenAIWhisper, "package", "pywhispercpp")  # one that is there
    monkeypatch.setattr(OpenAIWhisper, absent, value)
    settings = BOTH.model_copy(update={"controls": (TORCH,)})
    first, second = measure(settings, prepared, tmp_path / "s.npz")
    assert (first.status, second.status) == ("measured", "skipped")
    assert "that-is-not-there is not installed" in second.reason and "make setup-torch" in second.reason
    assert not second.gated and judge(second, {"xrt": {"cpu": Limit(op="<=", limit=2)}}, gated=False) == []


def installed(monkeypatch, *variants):
    """As if these were there, and made for any device."""
    monkeypatch.setattr(
        engines, "unavailable", lambda variant, *_: None if variant in variants else Unavailable(f"no {variant}")
    )


def test_on_a_gpu_more_is_gated_and_the_record_says_so(prepared, tmp_path, child, monkeypatch):
    child({NEW: GOOD, TORCH: GOOD, PEER: GOOD})
    installed(monkeypatch, NEW, TORCH, PEER)
    settings = BOTH.model_copy(update={"variants": (OLD, NEW), "gpu_variants": (TORCH,), "controls": (PEER, TORCH)})
    records = measure(settings, prepared, tmp_path / "s.npz", "gpu")
    assert [(record.variant, record.gated) for record in records] == [(NEW, True), (TORCH, True), (PEER, False)]
    records = measure(settings, prepared, tmp_path / "s.npz")
    assert [(r.variant, r.gated) for r in records if r.status == "measured"] == [
        (NEW, True), (PEER, False), (TORCH, False),
    ]  # fmt: skip


def test_on_a_gpu_one_gated_engine_is_enough_to_measure(monkeypatch, tmp_path):
    monkeypatch.setattr(devices, "gpu", lambda: Gpu(name="NVIDIA H100", memory_bytes=1, source="nvml"))
    monkeypatch.setattr(preparing, "resolve", lambda *_: 1 / 0)
    settings = BOTH.model_copy(update={"variants": (NEW,), "gpu_variants": (TORCH,)})
    installed(monkeypatch)
    with pytest.raises(Unavailable, match="no pywhispercpp; no openai-whisper"):
        prepare(settings, Cache(tmp_path), "gpu")
    installed(monkeypatch, TORCH)
    with pytest.raises(ZeroDivisionError):
        prepare(settings, Cache(tmp_path), "gpu")
    with pytest.raises(NotMeasured, match="no pywhispercpp"):
        prepare(settings, Cache(tmp_path))


def test_an_engine_with_batches_of_its_own_is_not_spread_over_contexts(prepared, tmp_path, child, monkeypatch):
    requests = child({NEW: GOOD, TORCH: GOOD})
    installed(monkeypatch, NEW, TORCH)
    settings = BOTH.model_copy(update={"variants": (NEW, TORCH), "controls": ()})
    for beam_size in (1, 3):
        measure(settings.model_copy(update={"beam_size": beam_size}), prepared, tmp_path / "s.npz")
    batches = [
        (asked.variant, asked.request.splits, asked.request.in_one_call)
        for asked in requests if asked.function == "in_batches"
    ]  # fmt: skip
    one_way = ((2, 1),)
    assert batches == [(NEW, one_way, False), (TORCH, (), True), (NEW, one_way, False), (TORCH, (), False)]


def test_no_engine_at_all_is_no_measurement(monkeypatch, tmp_path):
    monkeypatch.setattr(WhisperCppPython, "package", "not-there")
    with pytest.raises(NotMeasured, match=r"pip install whisper-cpp-python==0\.2\.0"):
        prepare(BOTH, Cache(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_the_peer_needs_a_model_it_can_read(prepared, tmp_path, child):
    child({OLD: GOOD})
    settings = BOTH.model_copy(update={"controls": (PEER,)})
    _, peer = measure(settings, prepared, tmp_path / "s.npz")
    assert peer.status == "skipped"
    assert "CTranslate2" in peer.reason


def test_an_engine_of_2023_is_kept_from_a_model_with_other_tokens(prepared, tmp_path, child):
    child({NEW: GOOD})
    old, new = measure(BOTH, model_is(prepared, n_vocab=51_866), tmp_path / "s.npz")
    assert old.status == "skipped"
    assert "51866 tokens" in old.reason
    assert new.status == "measured"


@pytest.mark.parametrize("ftype", [7, 9, 2008])
def test_an_engine_of_2023_is_kept_from_quantised_weights(prepared, tmp_path, child, ftype):
    requests = child({NEW: GOOD})
    old, new = measure(BOTH, model_is(prepared, ftype=ftype), tmp_path / "s.npz")
    assert (old.status, new.status) == ("skipped", "measured")
    assert "quantised weights of m.bin" in old.reason and "leave whisper-cpp-python out" in old.reason
    assert {asked.variant for asked in requests} == {NEW}
    # what is missing never passes: it was gated, and the host did measure another
    limit = {"xrt": {"cpu": Limit(op="<=", limit=2)}}
    (verdict,) = judge(old, limit, gated=old.gated, expected=True)
    assert verdict.verdict == "invalid"
    assert "quantised" in verdict.reason


def test_a_control_that_cannot_decode_so_is_skipped_with_the_reason(prepared, tmp_path, child):
    child({PEER: GOOD})
    prepared = model_is(prepared, ctranslate2=Path("/folder"))
    settings = Settings(variants=(PEER,), controls=(OLD, NEW), vad=True, threads=2, gpu_batch=8, batch_seconds=20)
    peer, old, new = measure(settings, prepared, tmp_path / "s.npz")
    assert peer.status == "measured"
    assert (old.status, new.status) == ("skipped", "skipped")
    assert "no voice activity detection" in old.reason
    assert "transcription.vad_model" in new.reason


def test_clips_in_another_language_are_refused_before_anything_is_timed(prepared, monkeypatch, tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    clips = [
        SavedClip(id=name, file=f"{name}.npy", seconds=1.5, sha256="0", text="x", language=language)
        for name, language in (("a", "en"), ("b", "de-DE"))
    ]
    facts = save_set(folder, clips)
    found = SimpleNamespace(path=folder, facts=facts.model_dump(mode="json", exclude_none=True))
    monkeypatch.setattr(preparing, "resolve", lambda model, cache: prepared.model)
    monkeypatch.setattr(preparing, "clip_set", lambda seconds, cache: found)
    with pytest.raises(InputError, match="the clip b is in de"):
        prepare(BOTH, Cache(tmp_path / "cache"))
    save_set(folder, clips[:1])
    ready = prepare(BOTH, Cache(tmp_path / "cache"))
    assert ready.clips == PreparedClips(folder=folder, facts=ClipFacts.model_validate(found.facts))
    assert ready.model == prepared.model


def test_what_is_not_made_for_a_gpu_leaves_no_record_there(prepared, tmp_path, child, monkeypatch):
    child({NEW: GOOD})
    monkeypatch.setattr(PyWhisperCpp, "cannot_run_on", staticmethod(lambda device: None))
    (record,) = measure(BOTH, prepared, tmp_path / "s.npz", "gpu")
    assert (record.variant, record.device, record.status) == (NEW, "gpu", "measured")


def test_clips_that_went_after_prepare_fail_with_the_next_step(prepared, tmp_path):
    (tmp_path / "clips" / "clips.json").unlink()
    with pytest.raises(NotMeasured, match="prepare transcription again"):
        measure(BOTH, prepared, tmp_path / "s.npz")


@pytest.mark.parametrize(
    ("name", "says"), [(None, "no NVIDIA device"), ("NVIDIA H200", "whisper-cpp-python does not run on a gpu")]
)
def test_without_a_gpu_or_an_engine_for_it_it_is_unavailable_with_the_reason(tmp_path, monkeypatch, name, says):
    found = Gpu(name=name, memory_bytes=1, source="nvml") if name else None
    monkeypatch.setattr(devices, "gpu", lambda: found)
    with pytest.raises(Unavailable, match=says):
        prepare(BOTH, Cache(tmp_path), "gpu")
    assert list(tmp_path.iterdir()) == []
