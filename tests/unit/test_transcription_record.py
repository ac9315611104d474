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
from nightgate.errors import ChildError, InputError, NightgateError, NotMeasured, Unavailable
from nightgate.judge import judge
from nightgate.measure import devices
from nightgate.measure.child import ChildResult
from nightgate.measure.turns import Ask
from nightgate.record import STORED, Gpu, Record
from nightgate.suite import Limit
from nightgate.transcription import engines, preparing, turning
from nightgate.transcription.clips.folder import ClipFacts, SavedClip, save_set
from nightgate.transcription.engines import Segment, Transcript
from nightgate.transcription.engines.openai_whisper import OpenAIWhisper
from nightgate.transcription.engines.pywhispercpp import PyWhisperCpp
from nightgate.transcription.engines.whisper_cpp_python import WhisperCppPython
from nightgate.transcription.models.resolve import ResolvedModel
from nightgate.transcription.plugin import BENCHMARK
from nightgate.transcription.prepared import PreparedClips, TranscriptionPrepared
from nightgate.transcription.settings import Settings
from nightgate.transcription.timed import InBatchesAnswer, OneByOneAnswer, Way, Work, one_by_one

TESTS = Path(__file__).resolve().parents[1]

OLD, NEW, PEER, TORCH = "whisper-cpp-python", "pywhispercpp", "faster-whisper", "openai-whisper"
BOTH = Settings(variants=(OLD,), controls=(NEW,), threads=2, gpu_batch=8, batch_seconds=20, batch_controls=True)
GOOD = ["red green blue", "Red, green; black.", "red green blue", "red green blue", "red green blue"]


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """The pace of the host is remembered there."""
    monkeypatch.setenv("NIGHTGATE_HOME", str(tmp_path / "home"))


def prepared_of(folder, count):
    """So many clips of 10 s."""
    folder.mkdir()
    clips = [
        SavedClip(id=f"clip-{i}", file=f"{i}.npy", seconds=10.0, sha256=f"{i}", text="red green blue")
        for i in range(1, count + 1)
    ]
    model = ResolvedModel(name="m", path="m.bin", source="file", bytes=1, sha256="0", n_vocab=51_864, ftype=1)
    return TranscriptionPrepared(model=model, clips=PreparedClips(folder=folder, facts=save_set(folder, clips)))


@pytest.fixture
def prepared(tmp_path):
    return prepared_of(tmp_path / "clips", 5)


def model_is(prepared, **facts):
    return prepared.model_copy(update={"model": prepared.model.model_copy(update=facts)})


@dataclass(frozen=True)
class Asked:
    """One process that was asked for, and the variants that it took turns with, itself among them."""

    function: str
    request: object
    limits: dict
    turns: list

    @property
    def work(self):
        return work_of(self.request)

    @property
    def variant(self):
        return self.work.engine.name


def work_of(request):
    return request if isinstance(request, Work) else request.work


def hears(request, texts, seconds):
    """In turns, as `timed.one_by_one` and `in_batches` do: ``texts``, or the error that it ends with, and the ``seconds`` that
    a clip takes, or each."""
    if isinstance(texts, Exception):
        yield
        raise texts
    if not isinstance(request, Work):
        yield
        times = np.array([[2.0], [2.5], [3.0]])
        return InBatchesAnswer(
            trials=(), way=Way(2, 1), ran_on="cpu", seconds=times, texts=tuple(texts[: len(request.work.clips)])
        )
    spent = np.zeros(len(request.clips), np.int64)
    heard = []
    for place, each in enumerate(np.broadcast_to(seconds, len(spent))):
        yield
        if request.progress.enough:
            break
        spent[place] = round(each * 1e9)
        request.progress.spent(int(spent[place]))
        heard.append(Transcript((Segment(0.0, 1.0, texts[place]),)))
    return OneByOneAnswer(
        versions={"a-library": "1"}, ran_on="cpu", load_seconds=0.5, durations_ns=spent, first_segment_ns=spent // 4,
        beside_ns=spent // 1000,
        transcripts=tuple(heard),
    )  # fmt: skip


@pytest.fixture
def child(monkeypatch):
    """``child(answers)``: variant → its texts, or the error it dies of; a list of them is one for each repeat. ``seconds``:
    variant → those of each repeat, see `hears`. Returns what was asked, as it is asked."""

    def replace(answers, batches=None, seconds=None):
        asked = []

        def of_this_repeat(given, variant):
            repeats = sum(one.variant == variant and one.function == "one_by_one" for one in asked)
            return given[variant][repeats - 1]

        def run_in_turns(asks, *, between, **limits):
            working, found = {}, {}
            for place, ask in enumerate(asks):
                variants = [work_of(each.request).engine.name for each in asks]
                asked.append(Asked(ask.function.__name__, ask.request, limits, variants))
                told = (batches if batches and ask.function is not one_by_one else answers)[variants[place]]
                if not isinstance(told, Exception) and not isinstance(told[0], str):
                    told = of_this_repeat({variants[place]: told}, variants[place])
                spent = of_this_repeat(seconds, variants[place]) if seconds and ask.function is one_by_one else 2.0
                working[place] = hears(ask.request, told, spent)
            while working:
                between()
                for place, one in list(working.items()):
                    try:
                        next(one)
                        continue
                    except StopIteration as done:
                        found[place] = ChildResult(done.value, 1000, 1.0)
                    except NightgateError as error:
                        found[place] = error
                    del working[place]
            return [found[place] for place in range(len(asks))]

        monkeypatch.setattr(turning, "run_in_turns", run_in_turns)
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
    assert first.metrics["xrt"].n == 2
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
    assert (gated.facts.turns, control.facts.turns) == (f"every clip, with {NEW}", f"every clip, with {OLD}")
    assert (gated.facts.stopped, gated.facts.half_width) == ("precision", 0.0)
    assert gated.facts.pace.fastest_seconds == pytest.approx(0.002) and gated.metrics["fast_share"].value == 1
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


def one_by_ones(asked):
    return [(one.variant, one.turns) for one in asked if one.function == "one_by_one"]


NOISY = [2.0, 2.6, 1.7, 2.2, 2.9]


def test_every_repeat_is_a_new_process_of_each_and_they_take_turns(prepared, tmp_path, child):
    requests = child({OLD: GOOD, NEW: GOOD}, seconds={OLD: [2.0, NOISY, 2.5], NEW: [3.0, NOISY, 3.0]})
    measure(BOTH.model_copy(update={"repeats": 3, "precision": 0.001}), prepared, tmp_path / "s.npz")
    # a control takes part in the least repeats only
    assert one_by_ones(requests) == [
        (OLD, [OLD, NEW]), (NEW, [OLD, NEW]), (NEW, [NEW, OLD]), (OLD, [NEW, OLD]), (OLD, [OLD]),
    ]  # fmt: skip


@pytest.mark.parametrize(("count", "fewest"), [(4, 4), (5, 5), (8, 5), (20, 5), (23, 6)])
def test_it_ends_in_the_middle_of_a_repeat_when_it_is_precise_but_not_at_once(tmp_path, child, count, fewest):
    noisy = 3.0 + np.resize([0.0, 0.4, -0.2, -0.3], count)
    child({OLD: GOOD * 5, NEW: GOOD * 5}, seconds={OLD: [2.0, 2.0], NEW: [3.0, noisy]})
    settings = BOTH.model_copy(update={"variants": (OLD, NEW), "controls": (), "repeats": 2, "precision": 0.01})
    old, new = measure(settings, prepared_of(tmp_path / "clips", count), tmp_path / "s.npz")
    with np.load(tmp_path / "s.npz") as raw:
        heard = (raw[f"{OLD}/durations_ns"] > 0).sum(axis=1).tolist()
        assert heard == [count, fewest], "five, or a quarter, or all there are"
        assert (raw[f"{NEW}/durations_ns"] > 0).all()
        assert np.isnan(raw[f"{OLD}/round_seconds"]).tolist() == [False] * sum(heard) + [True] * (count - fewest)
        assert raw[f"{NEW}/round_seconds"] == pytest.approx([3.0] * count + noisy.tolist())
    assert (old.facts.stopped, old.facts.half_width) == ("precision", 0.0)
    low, high = new.metrics["xrt"].ci95
    assert (high - low) / 2 / new.metrics["xrt"].value == pytest.approx(new.facts.half_width)
    assert new.facts.half_width > 0.01
    assert new.facts.stopped == "budget"


def test_the_controls_end_with_the_gated_engines_but_not_at_once(tmp_path, child):
    noisy = np.resize(NOISY, 12)
    requests = child({OLD: GOOD * 3, NEW: GOOD * 3}, seconds={OLD: [2.0, 2.0], NEW: [2.0, noisy]})
    settings = BOTH.model_copy(update={"repeats": 3})
    old, new = measure(settings, prepared_of(tmp_path / "clips", 12), tmp_path / "s.npz")
    assert one_by_ones(requests) == [(OLD, [OLD, NEW]), (NEW, [OLD, NEW]), (NEW, [NEW, OLD]), (OLD, [NEW, OLD])]
    assert (old.facts.stopped, new.facts.stopped) == ("precision", "budget")
    assert new.facts.half_width > settings.precision
    with np.load(tmp_path / "s.npz") as raw:
        assert (raw[f"{NEW}/durations_ns"] > 0).sum(axis=1).tolist() == [12, 5]


def test_the_least_repeats_are_whole_but_for_the_last(tmp_path, child):
    child({OLD: GOOD * 2, NEW: GOOD * 2})
    settings = BOTH.model_copy(update={"least_repeats": 3, "repeats": 4})
    measure(settings, prepared_of(tmp_path / "clips", 8), tmp_path / "s.npz")
    with np.load(tmp_path / "s.npz") as raw:
        assert (raw[f"{OLD}/durations_ns"] > 0).sum(axis=1).tolist() == [8, 8, 5]


def test_where_they_do_not_fit_into_memory_one_comes_after_the_other(prepared, tmp_path, child):
    requests = child({OLD: GOOD, NEW: GOOD})
    large = model_is(prepared, bytes=2**50)
    first, second = measure(BOTH.model_copy(update={"repeats": 2}), large, tmp_path / "s.npz")
    assert one_by_ones(requests) == [(OLD, [OLD]), (NEW, [NEW]), (NEW, [NEW]), (OLD, [OLD])]
    assert first.facts.turns == second.facts.turns == "none, as the memory holds 1 of 2 models"
    with np.load(tmp_path / "s.npz") as raw:
        assert f"{OLD}/durations_ns" in raw and f"{OLD}/round_seconds" not in raw


def test_only_gated_engines_transcribe_in_batches_unless_the_controls_are_asked_for(prepared, tmp_path, child):
    requests = child({OLD: GOOD, NEW: GOOD})
    for controls, repeats, expected in ((False, 1, [OLD]), (True, 1, [OLD, NEW]), (True, 0, [])):
        requests.clear()
        settings = BOTH.model_copy(update={"batch_controls": controls, "batch_repeats": repeats})
        first, second = measure(settings, prepared, tmp_path / "s.npz")
        assert [one.variant for one in requests if one.function == "in_batches"] == expected
        assert ["batch" in one.detail for one in (first, second)] == [OLD in expected, NEW in expected]
        assert first.facts.not_measured == second.facts.not_measured == {}


def test_to_confirm_the_gated_engines_hear_the_same_clips_and_batches_only_where_these_are_judged():
    settings = BOTH.model_copy(update={"gpu_variants": (TORCH,), "audio_seconds": 77.0})
    changed = {"controls": (), "batch_repeats": 0}
    assert BENCHMARK.to_confirm(settings, ("xrt", "wer")) == settings.model_copy(update=changed)
    for metric in ("batch_xrt", "batch_rtfx"):
        assert BENCHMARK.to_confirm(settings, ("xrt", metric)) == settings.model_copy(update={"controls": ()})


def test_raw_samples_are_kept(prepared, tmp_path, child):
    child({OLD: GOOD, NEW: GOOD})
    first, _ = measure(BOTH, prepared, tmp_path / "s.npz")
    with np.load(tmp_path / first.samples) as raw:
        assert raw[f"{OLD}/durations_ns"].shape == raw[f"{OLD}/first_segment_ns"].shape == (2, 5)
        assert raw[f"{OLD}/xrt_repeats"] == pytest.approx([0.2] * 2)
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


def test_the_second_process_that_dies_fails_its_engine_alone(prepared, tmp_path, child):
    child({OLD: [GOOD, ChildError("was ended by SIGSEGV")], NEW: GOOD})
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
    real, timeouts = turning.run_in_turns, []

    def run(asks, *, timeout, **limits):
        (ask,) = asks
        assert ask.function is one_by_one
        timeouts.append(timeout)
        leaving = gone.Leaving(ask.request.progress.marks, bytes(marks))
        return real([Ask(getattr(gone, end), leaving)], timeout=2 if end == "hang" else 60, **limits)

    monkeypatch.setattr(turning, "run_in_turns", run)
    (record,) = measure(BOTH.model_copy(update={"variants": (NEW,), "controls": ()}), prepared, tmp_path / "s.npz")
    assert record.status == "failed"
    assert re.match(says, record.reason), record.reason
    assert timeouts == [120 + 20 * 50 * 2], "all clips, and what warms"


def test_the_child_is_told_how_to_decode_and_where_the_clips_are(prepared, tmp_path, child):
    requests = child({OLD: GOOD, NEW: GOOD})
    settings = BOTH.model_copy(update={"language": "de", "beam_size": 3})
    first, _ = measure(settings, prepared, tmp_path / "s.npz")
    for asked in requests:
        assert asked.work.decoding == engines.Decoding(language="de", beam_size=3)
        assert (asked.work.threads, asked.limits["threads"], asked.limits["device"]) == (2, 2, "cpu")
    assert requests[0].work.clips == tuple(prepared.clips.folder / f"{number}.npy" for number in range(1, 6))
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


def test_an_engine_that_hears_something_else_the_second_time_is_named(prepared, tmp_path, child):
    child({OLD: [GOOD, ["red green blue", "red green green", *GOOD[2:]]], NEW: GOOD})
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
