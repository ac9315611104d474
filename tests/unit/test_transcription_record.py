"""What a record says of what its processes brought home, without an engine: the child process is replaced."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from nightgate.artifacts.cache import Cache
from nightgate.errors import ChildError, InputError, NotMeasured, Unavailable
from nightgate.judge import judge
from nightgate.measure import devices
from nightgate.measure.child import ChildResult
from nightgate.record import Gpu
from nightgate.suite import Limit
from nightgate.transcription import benchmark, engines
from nightgate.transcription.settings import Settings

ROOT = Path(__file__).resolve().parents[2]

OLD, NEW, PEER, TORCH = "whisper-cpp-python", "pywhispercpp", "faster-whisper", "openai-whisper"
BOTH = Settings(variants=(OLD,), controls=(NEW,), threads=2, gpu_batch=8, batch_seconds=20)
GOOD = ["red green blue", "Red, green; black.", "red green blue", "red green blue", "red green blue"]


@pytest.fixture
def prepared(tmp_path):
    folder = tmp_path / "clips"
    folder.mkdir()
    clips = [{"id": f"clip-{i}", "file": f"{i}.npy", "seconds": 10.0, "text": "red green blue"} for i in range(1, 6)]
    (folder / "clips.json").write_text(json.dumps(clips))
    model = {"name": "m", "path": "m.bin", "source": "file", "bytes": 1, "sha256": "0", "ctranslate2": None}
    model["n_vocab"] = 51_864
    return {
        "model": model,
        "clips": {"folder": str(folder), "count": 5, "repeated": 0, "seconds": 50.0, "sha256": "1"},
    }


@pytest.fixture
def child(monkeypatch):
    """``child(answers)``: variant → its texts, or the error it dies of. Returns the requests, as they are made."""

    def replace(answers, batches=None):
        requests = []

        def run(function, request, audio_seconds):
            requests.append((function, request))
            answer = (batches if batches and function == "in_batches" else answers)[request["variant"]]
            if isinstance(answer, Exception):
                raise answer
            if function == "one_by_one":
                shape = (request["repeats"], len(request["clips"]))
                np.save(request["saved"], np.stack([np.full(shape, 2_000_000_000), np.full(shape, 500_000_000)]))
                heard = [[[0.0, 1.0, text]] for text in answer]
                value = {"load_seconds": 0.5, "version": "1", "ran_on": "cpu", "transcripts": heard}
            else:
                value = {"contexts": 2, "threads": 1, "at_once": 1, "calibration": [], "ran_on": "cpu"}
                value |= {"seconds": [2.0, 2.5, 3.0], "texts": answer[: len(request["clips"])]}
            return ChildResult(value, 1000, 1.0)

        monkeypatch.setattr(benchmark, "_child", run)
        return requests

    return replace


def test_the_figures_follow_from_what_was_measured(prepared, tmp_path, child):
    child({OLD: GOOD, NEW: GOOD})
    first, second = benchmark.measure(BOTH, "cpu", prepared, tmp_path / "s.npz")
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


def test_the_repeats_are_split_between_two_processes_and_the_engines_take_turns(prepared, tmp_path, child):
    requests = child({OLD: GOOD, NEW: GOOD})
    benchmark.measure(BOTH, "cpu", prepared, tmp_path / "s.npz")
    turns = [(request["variant"], request["repeats"]) for function, request in requests if function == "one_by_one"]
    assert turns == [(OLD, 3), (NEW, 3), (NEW, 2), (OLD, 2)]


def test_raw_samples_are_kept(prepared, tmp_path, child):
    child({OLD: GOOD, NEW: GOOD})
    first, _ = benchmark.measure(BOTH, "cpu", prepared, tmp_path / "s.npz")
    with np.load(tmp_path / first.samples) as raw:
        assert raw[f"{OLD}/durations_ns"].shape == raw[f"{OLD}/first_segment_ns"].shape == (5, 5)
        assert raw[f"{OLD}/xrt_repeats"] == pytest.approx([0.2] * 5)
        assert raw[f"{OLD}/wer_errors"].tolist() == [0, 1, 0, 0, 0]
        assert raw[f"{OLD}/wer_words"].tolist() == [3] * 5
        assert raw[f"{OLD}/batch_seconds"].tolist() == [2.0, 2.5, 3.0]


def test_transcripts_are_kept_raw(prepared, tmp_path, child):
    child({OLD: GOOD, NEW: GOOD})
    benchmark.measure(BOTH, "cpu", prepared, tmp_path / "s.npz")
    rows = [json.loads(line) for line in (tmp_path / f"s-{OLD}.jsonl").read_text().splitlines()]
    assert len(rows) == 5
    assert rows[1] == {
        "audio_filepath": "2.npy", "id": "clip-2", "duration": 10.0, "time": 2.0, "text": "red green blue",
        "pred_text": "Red, green; black.", "segments": [[0.0, 1.0, "Red, green; black."]],
    }  # fmt: skip


def test_a_clip_without_text_counts_with_its_words_and_takes_nothing_with_it(prepared, tmp_path, child):
    child({OLD: ["red green blue", "", *GOOD[2:]], NEW: GOOD})
    first, second = benchmark.measure(BOTH, "cpu", prepared, tmp_path / "s.npz")
    assert (first.status, second.status) == ("measured", "measured")
    assert first.metrics["wer"].value == pytest.approx(3 / 15)
    assert second.metrics["wer"].value == pytest.approx(1 / 15)
    assert first.detail["heard_nothing_in"] == ["clip-2"]
    assert "heard_nothing_in" not in second.detail


def test_an_engine_that_hears_nothing_at_all_fails_alone(prepared, tmp_path, child):
    child({OLD: [""] * 5, NEW: GOOD})
    bad, fine = benchmark.measure(BOTH, "cpu", prepared, tmp_path / "s.npz")
    assert (bad.status, bad.metrics) == ("failed", {})
    assert "returned no text for any of the 5 clips" in bad.reason
    assert fine.status == "measured"


@pytest.mark.parametrize("error", [ChildError("was ended by SIGABRT"), NotMeasured("no memory")])
def test_batches_that_fail_leave_the_numbers_of_one_by_one(prepared, tmp_path, child, error):
    child({OLD: GOOD, NEW: GOOD}, batches={OLD: error, NEW: GOOD})
    first, second = benchmark.measure(BOTH, "cpu", prepared, tmp_path / "s.npz")
    assert (first.status, first.reason) == ("measured", None)
    assert first.metrics["wer"].value == pytest.approx(1 / 15)
    assert first.detail["not_measured"] == {"batch": error.what}
    assert "batch_xrt" not in first.metrics
    assert "batch_xrt" in second.metrics and "not_measured" not in second.detail


def test_the_second_process_that_dies_fails_its_engine_alone(prepared, tmp_path, child, monkeypatch):
    child({OLD: GOOD, NEW: GOOD})
    fake, calls = benchmark._child, []

    def dies(function, request, audio_seconds):
        calls.append(request["variant"])
        if calls.count(OLD) == 2 and request["variant"] == OLD:
            raise ChildError("was ended by SIGSEGV")
        return fake(function, request, audio_seconds)

    monkeypatch.setattr(benchmark, "_child", dies)
    first, second = benchmark.measure(BOTH, "cpu", prepared, tmp_path / "s.npz")
    assert (first.status, first.reason, first.metrics) == ("failed", "was ended by SIGSEGV", {})
    assert second.status == "measured"


GONE = """
import os
def one_by_one(request):
    with open(request["progress"], "wb") as file:
        file.write(bytes(request["marks"]))
    {end}
"""


@pytest.mark.parametrize(
    ("marks", "end", "says"),
    [
        ([2, 1, 0], "os.abort()", r"^engine failed on the clip b: away:one_by_one was ended by SIGABRT"),
        ([2, 1, 1], "os.abort()", r"^engine failed on the clip b or c: away:one_by_one was ended by SIGABRT"),
        ([2, 0, 0], "os.abort()", r"^away:one_by_one was ended by SIGABRT"),
        ([], "os._exit(3)", r"^away:one_by_one ended with code 3"),
        ([1, 2, 2], "import time; time.sleep(99)", r"^engine failed on the clip a: away:one_by_one did not finish within 2 s"),
        ([0, 0, 1], "raise __import__('nightgate.errors').errors.NotMeasured('code -6', 'do this')", r"^engine failed on the clip c: code -6"),
    ],
)  # fmt: skip
def test_a_process_that_is_gone_names_the_clip_it_was_at(tmp_path, monkeypatch, marks, end, says):
    (tmp_path / "away.py").write_text(GONE.format(end=end))
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{ROOT / 'include'}")
    real = benchmark.run_child

    def run(target, request, timeout, **limits):
        assert target == "nightgate.transcription.timed:one_by_one"
        assert timeout == 120 + 20 * 7.5
        return real("away:one_by_one", request, timeout=2 if "sleep" in end else 60, **limits)

    monkeypatch.setattr(benchmark, "run_child", run)
    request = {"variant": "engine", "ids": ["a", "b", "c"], "marks": marks, "threads": 1, "device": "cpu"}
    with pytest.raises(NotMeasured, match=says):
        benchmark._child("one_by_one", request, 7.5)


def test_the_child_is_told_how_to_decode_and_what_the_clips_are_called(prepared, tmp_path, child):
    requests = child({OLD: GOOD, NEW: GOOD})
    settings = BOTH.model_copy(update={"language": "de", "beam_size": 3})
    first, _ = benchmark.measure(settings, "cpu", prepared, tmp_path / "s.npz")
    for _, request in requests:
        assert request["decoding"] == {
            "language": "de", "beam_size": 3, "temperature_fallback": False, "initial_prompt": None, "vad": False,
            "vad_model": None,
        }  # fmt: skip
    assert requests[0][1]["ids"] == [f"clip-{number}" for number in range(1, 6)]
    assert first.settings["language"] == "de"
    assert first.detail["decoding"]["beam_size"] == 3
    assert first.detail["scoring"] == {
        "normaliser": "Whisper's basic normaliser, diacritics and combining marks kept", "judged_by": "wer",
    }  # fmt: skip


def test_a_record_says_by_what_its_errors_were_judged(prepared, tmp_path, child):
    child({OLD: GOOD, NEW: GOOD})
    first, _ = benchmark.measure(BOTH.model_copy(update={"language": "ja"}), "cpu", prepared, tmp_path / "s.npz")
    assert first.detail["scoring"]["judged_by"] == "cer"
    limit = {"cer": {"cpu": Limit(op="<=", limit=0.9)}}
    (verdict,) = judge(first, limit, gated=True)
    assert (verdict.metric, verdict.value, verdict.verdict) == ("cer", first.metrics["cer"].value, "pass")


def test_a_dead_engine_does_not_take_the_other_with_it_and_is_not_tried_again(prepared, tmp_path, child):
    requests = child({OLD: ChildError("was ended by SIGSEGV"), NEW: GOOD})
    dead, good = benchmark.measure(BOTH, "cpu", prepared, tmp_path / "s.npz")
    assert (dead.status, dead.reason, dead.samples) == ("failed", "was ended by SIGSEGV", None)
    assert good.status == "measured"
    assert [request["variant"] for _, request in requests].count(OLD) == 1
    with np.load(tmp_path / good.samples) as raw:
        assert {name.split("/")[0] for name in raw} == {NEW}


def test_an_engine_that_hears_something_else_the_second_time_is_named(prepared, tmp_path, child):
    child({OLD: GOOD, NEW: GOOD})
    spoken = iter([GOOD, ["red green blue", "red green green", *GOOD[2:]]])
    real = benchmark._child

    def moody(function, request, audio_seconds):
        answer = real(function, request, audio_seconds)
        if function == "one_by_one" and request["variant"] == OLD:
            answer.value["transcripts"] = [[[0.0, 1.0, text]] for text in next(spoken)]
        return answer

    benchmark._child = moody
    first, second = benchmark.measure(BOTH, "cpu", prepared, tmp_path / "s.npz")
    assert first.detail["heard_differently_the_second_time"] == ["clip-2"]
    assert "heard_differently_the_second_time" not in second.detail


def test_an_engine_that_is_not_installed_is_skipped_with_the_install_line(prepared, tmp_path, child, monkeypatch):
    requests = child({OLD: GOOD, NEW: GOOD})
    monkeypatch.setattr(engines.PyWhisperCpp, "package", "pywhispercpp-that-is-not-there")
    first, second = benchmark.measure(BOTH, "cpu", prepared, tmp_path / "s.npz")
    assert first.status == "measured"
    assert second.status == "skipped"
    assert "not installed" in second.reason and "pip install pywhispercpp" in second.reason
    assert all(request["variant"] == OLD for _, request in requests)


@pytest.mark.parametrize("absent", ["package", "requires"])
def test_torch_that_is_not_installed_is_skipped_with_the_install_line(prepared, tmp_path, child, monkeypatch, absent):
    child({OLD: GOOD})
    value = {"package": "whisper-that-is-not-there", "requires": ("torch-that-is-not-there",)}[absent]
    monkeypatch.setattr(engines.OpenAIWhisper, "requires", ())
    monkeypatch.setattr(engines.OpenAIWhisper, "package", "pywhispercpp")  # one that is there
    monkeypatch.setattr(engines.OpenAIWhisper, absent, value)
    settings = BOTH.model_copy(update={"controls": (TORCH,)})
    first, second = benchmark.measure(settings, "cpu", prepared, tmp_path / "s.npz")
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
    records = benchmark.measure(settings, "gpu", prepared, tmp_path / "s.npz")
    assert [(record.variant, record.gated) for record in records] == [(NEW, True), (TORCH, True), (PEER, False)]
    records = benchmark.measure(settings, "cpu", prepared, tmp_path / "s.npz")
    assert [(r.variant, r.gated) for r in records if r.status == "measured"] == [
        (NEW, True), (PEER, False), (TORCH, False),
    ]  # fmt: skip


def test_on_a_gpu_one_gated_engine_is_enough_to_measure(monkeypatch, tmp_path):
    monkeypatch.setattr(devices, "gpu", lambda: Gpu(name="NVIDIA H100", memory_bytes=1, source="nvml"))
    monkeypatch.setattr(benchmark, "resolve", lambda *_: 1 / 0)
    settings = BOTH.model_copy(update={"variants": (NEW,), "gpu_variants": (TORCH,)})
    installed(monkeypatch)
    with pytest.raises(Unavailable, match="no pywhispercpp; no openai-whisper"):
        benchmark.prepare(settings, "gpu", Cache(tmp_path))
    installed(monkeypatch, TORCH)
    with pytest.raises(ZeroDivisionError):
        benchmark.prepare(settings, "gpu", Cache(tmp_path))
    with pytest.raises(NotMeasured, match="no pywhispercpp"):
        benchmark.prepare(settings, "cpu", Cache(tmp_path))


def test_an_engine_with_batches_of_its_own_is_not_spread_over_contexts(prepared, tmp_path, child, monkeypatch):
    requests = child({NEW: GOOD, TORCH: GOOD})
    installed(monkeypatch, NEW, TORCH)
    settings = BOTH.model_copy(update={"variants": (NEW, TORCH), "controls": ()})
    for beam_size in (1, 3):
        benchmark.measure(settings.model_copy(update={"beam_size": beam_size}), "cpu", prepared, tmp_path / "s.npz")
    asked = [
        (request["variant"], request["splits"], request["in_one_call"])
        for function, request in requests if function == "in_batches"
    ]  # fmt: skip
    assert asked == [(NEW, [(2, 1)], False), (TORCH, [], True), (NEW, [(2, 1)], False), (TORCH, [], False)]


def test_no_engine_at_all_is_no_measurement(monkeypatch, tmp_path):
    monkeypatch.setattr(engines.WhisperCppPython, "package", "not-there")
    with pytest.raises(NotMeasured, match=r"pip install whisper-cpp-python==0\.2\.0"):
        benchmark.prepare(BOTH, "cpu", Cache(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_the_peer_needs_a_model_it_can_read(prepared, tmp_path, child):
    child({OLD: GOOD})
    settings = BOTH.model_copy(update={"controls": (PEER,)})
    _, peer = benchmark.measure(settings, "cpu", prepared, tmp_path / "s.npz")
    assert peer.status == "skipped"
    assert "CTranslate2" in peer.reason


def test_an_engine_of_2023_is_kept_from_a_model_with_other_tokens(prepared, tmp_path, child):
    child({NEW: GOOD})
    prepared["model"]["n_vocab"] = 51_866  # large-v3
    old, new = benchmark.measure(BOTH, "cpu", prepared, tmp_path / "s.npz")
    assert old.status == "skipped"
    assert "51866 tokens" in old.reason
    assert new.status == "measured"


@pytest.mark.parametrize("ftype", [7, 9, 2008])
def test_an_engine_of_2023_is_kept_from_quantised_weights(prepared, tmp_path, child, ftype):
    requests = child({NEW: GOOD})
    prepared["model"]["ftype"] = ftype
    old, new = benchmark.measure(BOTH, "cpu", prepared, tmp_path / "s.npz")
    assert (old.status, new.status) == ("skipped", "measured")
    assert "quantised weights of m.bin" in old.reason and "leave whisper-cpp-python out" in old.reason
    assert {request["variant"] for _, request in requests} == {NEW}
    # what is missing never passes: it was gated, and the host did measure another
    limit = {"xrt": {"cpu": Limit(op="<=", limit=2)}}
    (verdict,) = judge(old, limit, gated=old.gated, expected=True)
    assert verdict.verdict == "invalid"
    assert "quantised" in verdict.reason


def test_a_control_that_cannot_decode_so_is_skipped_with_the_reason(prepared, tmp_path, child):
    child({PEER: GOOD})
    prepared["model"]["ctranslate2"] = "/folder"
    settings = Settings(variants=(PEER,), controls=(OLD, NEW), vad=True, threads=2, gpu_batch=8, batch_seconds=20)
    peer, old, new = benchmark.measure(settings, "cpu", prepared, tmp_path / "s.npz")
    assert peer.status == "measured"
    assert (old.status, new.status) == ("skipped", "skipped")
    assert "no voice activity detection" in old.reason
    assert "transcription.vad_model" in new.reason


def test_clips_in_another_language_are_refused_before_anything_is_timed(monkeypatch, tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    clips = [{"id": "a", "language": "en"}, {"id": "b", "language": "de-DE"}]
    (folder / "clips.json").write_text(json.dumps(clips))
    monkeypatch.setattr(benchmark, "resolve", lambda model, cache: {})
    monkeypatch.setattr(benchmark, "clip_set", lambda seconds, cache: SimpleNamespace(path=folder, facts={"count": 2}))
    with pytest.raises(InputError, match="the clip b is in de"):
        benchmark.prepare(BOTH, "cpu", Cache(tmp_path / "cache"))
    (folder / "clips.json").write_text(json.dumps(clips[:1]))
    prepared = benchmark.prepare(BOTH, "cpu", Cache(tmp_path / "cache"))
    assert prepared["clips"] == {"folder": str(folder), "count": 2}
    assert prepared["model"]["ftype"] == 1


def test_what_is_not_made_for_a_gpu_leaves_no_record_there(prepared, tmp_path, child, monkeypatch):
    child({NEW: GOOD})
    monkeypatch.setattr(engines.PyWhisperCpp, "lacks", staticmethod(lambda model, device: None))
    (record,) = benchmark.measure(BOTH, "gpu", prepared, tmp_path / "s.npz")
    assert (record.variant, record.device, record.status) == (NEW, "gpu", "measured")


def test_clips_that_went_after_prepare_fail_with_the_next_step(prepared, tmp_path):
    (tmp_path / "clips" / "clips.json").unlink()
    with pytest.raises(NotMeasured, match="prepare transcription again"):
        benchmark.measure(BOTH, "cpu", prepared, tmp_path / "s.npz")


@pytest.mark.parametrize(
    ("name", "says"), [(None, "no NVIDIA device"), ("NVIDIA H200", "whisper-cpp-python does not run on a gpu")]
)
def test_without_a_gpu_or_an_engine_for_it_it_is_unavailable_with_the_reason(tmp_path, monkeypatch, name, says):
    found = Gpu(name=name, memory_bytes=1, source="nvml") if name else None
    monkeypatch.setattr(devices, "gpu", lambda: found)
    with pytest.raises(Unavailable, match=says):
        benchmark.prepare(BOTH, "gpu", Cache(tmp_path))
    assert list(tmp_path.iterdir()) == []
