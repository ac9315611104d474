"""The functions that are timed, called here in this process, with an engine and a clock that are told what to do."""

import json
import threading
from pathlib import Path

import numpy as np
import pytest

from nightgate.errors import NotMeasured
from nightgate.transcription import engines, timed
from nightgate.transcription.engines import Segment, Transcript
from nightgate.transcription.models.ggml_layout import Hparams

SECOND = 16_000
# all lengths differ; the second is less than a second, and the fourth is the shortest of the others
LENGTHS = [40_000, 9_600, 64_000, 16_000, 24_000]
TINY = Hparams(51_864, 1500, 384, 6, 4, 448, 384, 6, 4, 80, 7)


class Clock:
    """Nanoseconds that pass only when something is done."""

    def __init__(self):
        self.now = 7_000_000_000

    def pass_by(self, nanoseconds):
        self.now += nanoseconds


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(timed, "perf_counter_ns", lambda: clock.now)
    monkeypatch.setattr(timed, "perf_counter", lambda: clock.now / 1e9)
    return clock


@pytest.fixture
def host(monkeypatch, clock):
    """What happens, in order: ("load", …) and ("hear", samples). Loading takes 3 s; a clip takes a tenth of its audio
    and 1 ms more with each call, the first segment 5 ms."""
    told = {"calls": [], "silent": (), "dies_at": None, "share": 0.1}
    lock = threading.Lock()

    class Fake:
        def __init__(self, threads):
            self.threads, self.ran_on = threads, f"a fake with {threads} threads"

        def transcribe(self, audio, heard=None):
            with lock:
                told["calls"].append(("hear", len(audio)))
                if len(audio) == told["dies_at"]:
                    raise NotMeasured("it died")
                count = sum(call[0] == "hear" for call in told["calls"])
                clock.pass_by(5_000_000)
                if heard and len(audio) not in told["silent"]:
                    heard()
                clock.pass_by(round(len(audio) / SECOND * told["share"] * 1e9) - 5_000_000 + count * 1_000_000)
            if len(audio) in told["silent"]:
                return Transcript(())
            return Transcript((Segment(0.25, 1.5, f" call {count} "), Segment(1.5, 2.0, f"of {len(audio)}")))

    def load(variant, model, threads, device, decoding):
        told["calls"].append(("load", variant, threads, device, decoding, model))
        clock.pass_by(3_000_000_000)
        return Fake(threads)

    read = np.load
    # audio is in memory before the clock starts: reading it would show at once
    monkeypatch.setattr(np, "load", lambda path, **more: clock.pass_by(17_000_000_000) or read(path, **more))
    monkeypatch.setattr(engines, "load", load)
    monkeypatch.setattr(engines, "import_library", lambda variant: clock.pass_by(11_000_000_000) or f"{variant} 9")
    monkeypatch.setattr(timed, "validate_ggml", {Path("/m.bin"): TINY}.__getitem__)
    return told


@pytest.fixture
def batching(host, monkeypatch, clock):
    """The engine takes a batch in one call too: 50 ms, and 1 ms for each clip."""
    load = engines.load

    def transcribe_together(clips):
        host["calls"].append(("together", [len(clip) for clip in clips]))
        if host["dies_at"] in host["calls"][-1][1]:
            raise NotMeasured("it died")
        clock.pass_by(50_000_000 + len(clips) * 1_000_000)
        return [Transcript((Segment(0, 1, f"{len(clip)} together"),)) for clip in clips]

    def load_one(*given):
        engine = load(*given)
        engine.transcribe_together, engine.batches = transcribe_together, lambda decoding: True
        return engine

    monkeypatch.setattr(engines, "load", load_one)
    return host


@pytest.fixture
def request_(tmp_path):
    paths = []
    for number, length in enumerate(LENGTHS):
        paths.append(str(tmp_path / f"{number}.npy"))
        np.save(paths[-1], np.zeros(length, dtype=np.float32))
    return {
        "variant": "pywhispercpp", "model": {"ggml": "/m.bin", "ctranslate2": None}, "device": "cpu", "threads": 4,
        "decoding": {"language": "de", "beam_size": 5}, "clips": paths, "progress": str(tmp_path / "progress"),
    }  # fmt: skip


def one_by_one(request, tmp_path, repeats):
    request |= {"repeats": repeats, "saved": str(tmp_path / "spent.npy")}
    answer = timed.one_by_one(request)
    return json.loads(json.dumps(answer)), np.load(tmp_path / "spent.npy")


def test_one_clip_warms_up_then_every_clip_is_heard_in_its_order_in_every_repeat(host, request_, tmp_path):
    one_by_one(request_, tmp_path, 2)
    heard = [call[1] for call in host["calls"] if call[0] == "hear"]
    assert heard == [16_000, *LENGTHS, *LENGTHS]


def test_what_is_spent_is_the_time_of_the_call_in_nanoseconds(host, request_, tmp_path):
    _, spent = one_by_one(request_, tmp_path, 2)
    assert (spent.shape, spent.dtype) == ((2, 2, 5), np.int64)
    shares = [length * 100_000 // 16 for length in LENGTHS]  # a tenth of the audio, and 1 ms per call: the first warmed
    assert spent[0].tolist() == [
        [share + (2 + place) * 1_000_000 for place, share in enumerate(shares)],
        [share + (7 + place) * 1_000_000 for place, share in enumerate(shares)],
    ]
    assert spent[1].tolist() == [[5_000_000] * 5] * 2


def test_where_nothing_is_heard_the_first_segment_is_known_at_the_end(host, request_, tmp_path):
    host["silent"] = (64_000,)
    answer, spent = one_by_one(request_, tmp_path, 1)
    assert spent[1, 0, 2] == spent[0, 0, 2] == 404_000_000
    assert spent[1, 0, 3] == 5_000_000
    assert answer["transcripts"][2] == []


def test_loading_is_timed_without_the_import_and_the_texts_are_those_of_the_first_pass(host, request_, tmp_path):
    answer, _ = one_by_one(request_, tmp_path, 3)
    assert answer["load_seconds"] == 3.0
    assert (answer["version"], answer["ran_on"]) == ("pywhispercpp 9", "a fake with 4 threads")
    assert answer["transcripts"] == [
        [[0.25, 1.5, f" call {place + 2} "], [1.5, 2.0, f"of {length}"]] for place, length in enumerate(LENGTHS)
    ]


def test_the_engine_is_loaded_as_it_was_asked_for(host, request_, tmp_path):
    request_["model"]["ctranslate2"] = "/folder"
    one_by_one(request_, tmp_path, 1)
    (_, variant, threads, device, decoding, model), *_ = host["calls"]
    assert (variant, threads, device) == ("pywhispercpp", 4, "cpu")
    assert decoding == engines.Decoding(language="de", beam_size=5)
    assert (str(model.ggml), str(model.ctranslate2), model.n_vocab, model.ftype) == ("/m.bin", "/folder", 51_864, 7)


def test_the_progress_names_the_clip_that_failed(host, request_, tmp_path):
    host["dies_at"] = 64_000
    (tmp_path / "progress").write_bytes(b"of an earlier, longer run")
    with pytest.raises(NotMeasured, match="it died"):
        one_by_one(request_, tmp_path, 1)
    assert (timed.WAITING, timed.AT_WORK, timed.DONE) == (b"\0", b"\1", b"\2")
    waiting, at_work, done = timed.WAITING, timed.AT_WORK, timed.DONE
    # the fourth was done because it warmed
    assert (tmp_path / "progress").read_bytes() == done + done + at_work + done + waiting
    host["dies_at"] = None
    one_by_one(request_, tmp_path, 1)
    assert (tmp_path / "progress").read_bytes() == done * 5


@pytest.mark.parametrize(
    ("lengths", "place"),
    [([9_600, 40_000, 16_000, 20_000], 2), ([15_999, 3, 15_998], 0), ([3, 15_999, 7], 1), ([16_001], 0)],
)
def test_what_warms_is_the_shortest_that_is_work_at_all(lengths, place):
    assert timed.warming_clip([np.zeros(length) for length in lengths]) == place


def in_batches(request, **more):
    request |= {"batch_size": 2, "passes": 2, "splits": [], "in_one_call": False}
    request |= {"alone": [4.0, 0.5, 6.0, 1.0, 2.0]} | more
    return json.loads(json.dumps(timed.in_batches(request)))


def heard(host):
    return [call[1] for call in host["calls"] if call[0] == "hear"]


def test_clips_of_like_length_share_a_batch_and_the_longest_starts_first(host, request_):
    answer = in_batches(request_)
    one_pass = [64_000, 40_000, 24_000, 16_000, 9_600]
    assert heard(host) == [16_000, *one_pass, *one_pass]  # one context, which was not tried before: it is warmed
    assert [text.split(" of ")[1] for text in answer["texts"]] == [str(length) for length in LENGTHS]
    assert answer["texts"][0] == "call 8 of 40000", "those of the last pass, in the order of the clips"


def test_the_time_of_a_pass_is_that_of_all_its_batches(host, request_):
    audio = sum(LENGTHS) / SECOND / 10
    assert in_batches(request_)["seconds"] == pytest.approx([audio + 0.020, audio + 0.045])  # calls 2 to 6, 7 to 11


def test_without_a_split_one_context_is_taken_at_the_time_it_took_alone(host, request_):
    answer = in_batches(request_)
    # the last full batch holds the fifth and the fourth clip
    assert answer["calibration"] == [{"contexts": 1, "threads": 4, "at_once": 1, "seconds": 3.0}]
    assert (answer["contexts"], answer["threads"], answer["ran_on"]) == (1, 4, "a fake with 4 threads")


def test_the_fastest_split_is_taken_and_each_of_its_contexts_was_warmed(host, request_):
    answer = in_batches(request_, splits=[[2, 2], [4, 1]], passes=1)
    loads = [call[2] for call in host["calls"] if call[0] == "load"]
    assert loads == [2, 2, 1, 1, 1, 1]
    assert [call[0] for call in host["calls"][:6]] == ["load", "load", "hear", "hear", "hear", "hear"]
    assert heard(host)[:2] == [16_000, 16_000]
    assert sorted(heard(host)[2:4]) == [16_000, 24_000]  # side by side
    assert heard(host)[4:8] == [16_000] * 4
    for _, variant, _, device, decoding, model in [call for call in host["calls"] if call[0] == "load"]:
        assert (variant, device, str(model.ggml), model.n_vocab) == ("pywhispercpp", "cpu", "/m.bin", 51_864)
        assert decoding == engines.Decoding(language="de", beam_size=5)
    # 2.5 s of audio take 250 ms; the calls 3 and 4, then 9 and 10, add their milliseconds
    assert [row["seconds"] for row in answer["calibration"]] == pytest.approx([3.0, 0.257, 0.269])
    assert (answer["contexts"], answer["threads"]) == (2, 2)
    assert len(heard(host)) == 2 + 2 + 4 + 2 + 5


def test_a_batch_in_one_call_is_taken_where_it_is_the_fastest_and_it_was_warm(batching, request_):
    answer = in_batches(request_, splits=[[2, 2]], in_one_call=True)
    together = [call[1] for call in batching["calls"] if call[0] == "together"]
    # warm with as many clips as it is then given, tried with the last full batch, then two passes over all batches
    one_pass = [[64_000, 40_000], [24_000, 16_000], [9_600]]
    assert together == [[16_000, 16_000], [24_000, 16_000], *one_pass, *one_pass]
    assert [(row["contexts"], row["threads"], row["at_once"]) for row in answer["calibration"]] == [
        (1, 4, 1), (2, 2, 1), (1, 4, 2),
    ]  # fmt: skip
    assert answer["calibration"][-1]["seconds"] == pytest.approx(0.052)
    assert (answer["contexts"], answer["threads"], answer["at_once"]) == (1, 4, 2)
    assert answer["seconds"] == pytest.approx([0.155, 0.155])
    assert answer["texts"] == [f"{length} together" for length in LENGTHS]


def test_a_batch_in_one_call_that_is_slower_is_not_taken(batching, request_):
    answer = in_batches(request_, in_one_call=True, alone=[4.0, 0.5, 6.0, 0.02, 0.03], passes=1)
    assert [row["seconds"] for row in answer["calibration"]] == pytest.approx([0.05, 0.052])
    assert answer["at_once"] == 1
    assert [call[0] for call in batching["calls"]].count("together") == 2
    assert answer["texts"][0].endswith("of 40000"), "one after the other"


def test_a_batch_of_one_clip_is_not_tried_in_one_call(batching, request_):
    assert in_batches(request_, in_one_call=True, batch_size=1)["at_once"] == 1
    assert [call for call in batching["calls"] if call[0] == "together"] == []


def test_a_batch_that_fails_in_one_call_is_named_by_the_progress(batching, request_, tmp_path):
    batching["dies_at"] = 24_000
    with pytest.raises(NotMeasured, match="it died"):
        in_batches(request_, in_one_call=True)
    waiting, at_work = timed.WAITING, timed.AT_WORK
    assert (tmp_path / "progress").read_bytes() == waiting + waiting + waiting + at_work + at_work


def test_the_log_says_what_each_split_took(host, request_, caplog):
    caplog.set_level("INFO")
    in_batches(request_, splits=[[2, 2], [4, 1]], passes=1)
    assert "pywhispercpp: 1 × 4: 3.0 s, 2 × 2: 0.3 s, 4 × 1: 0.3 s" in caplog.messages


def test_the_log_says_what_a_batch_in_one_call_took(batching, request_, caplog):
    caplog.set_level("INFO")
    in_batches(request_, in_one_call=True, passes=1)
    assert "pywhispercpp: 1 × 4: 3.0 s, 1 × 4 (2 at once): 0.1 s" in caplog.messages


def test_a_split_that_takes_as_long_as_one_context_is_not_taken(host, request_, clock, monkeypatch):
    monkeypatch.setattr(timed, "perf_counter", lambda: clock.now / 1e6)  # whole numbers, so that they can be equal
    answer = in_batches(request_, splits=[[2, 2]], alone=[9.0, 9.0, 9.0, 250.0, 7.0], passes=1)
    assert [row["seconds"] for row in answer["calibration"]] == [257.0, 257.0]
    assert (answer["contexts"], answer["threads"]) == (1, 4)


def test_a_split_that_is_no_faster_is_not_taken(host, request_):
    host["share"] = 1.2  # 2.5 s of audio then take 3 s and a few milliseconds
    answer = in_batches(request_, splits=[[2, 2]], passes=1)
    assert (answer["contexts"], answer["threads"]) == (1, 4)
    assert [call[2] for call in host["calls"] if call[0] == "load"] == [2, 2, 4]


def test_a_clip_that_fails_in_a_batch_is_named_by_the_progress(host, request_, tmp_path):
    host["dies_at"] = 24_000
    with pytest.raises(NotMeasured, match="it died"):
        in_batches(request_)
    assert (tmp_path / "progress").read_bytes()[4:5] == timed.AT_WORK
