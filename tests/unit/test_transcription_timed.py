"""The functions that are timed, called here in this process, with an engine and a clock that are told what to do."""

import itertools
import pickle
import threading
from pathlib import Path

import numpy as np
import pytest

from nightgate.errors import NotMeasured
from nightgate.transcription import engines, timed
from nightgate.transcription.engines import Segment, Transcript
from nightgate.transcription.engines.pywhispercpp import PyWhisperCpp
from nightgate.transcription.models.ggml_layout import Hparams
from nightgate.transcription.progress import AT_WORK, DONE, WAITING, Progress

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
    # they would show at once
    monkeypatch.setattr(timed.rest, "until_idle", lambda: clock.pass_by(13_000_000_000))
    kernels = itertools.count(1)
    monkeypatch.setattr(timed.blocks, "kernel", lambda: clock.pass_by(19_000_000_000) or (next(kernels) * 7) % 10)
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

        def versions(self):
            return {"a library": "9"}

        def transcribe(self, audio, on_first_segment=None):
            with lock:
                told["calls"].append(("hear", len(audio)))
                if len(audio) == told["dies_at"]:
                    raise NotMeasured("it died")
                count = sum(call[0] == "hear" for call in told["calls"])
                clock.pass_by(5_000_000)
                if on_first_segment and len(audio) not in told["silent"]:
                    on_first_segment()
                clock.pass_by(round(len(audio) / SECOND * told["share"] * 1e9) - 5_000_000 + count * 1_000_000)
            if len(audio) in told["silent"]:
                return Transcript(())
            return Transcript((Segment(0.25, 1.5, f" call {count} "), Segment(1.5, 2.0, f"of {len(audio)}")))

    def load(engine, model, threads, device, decoding):
        told["calls"].append(("load", engine, threads, device, decoding, model))
        clock.pass_by(3_000_000_000)
        return Fake(threads)

    read = np.load
    # audio is in memory before the clock starts: reading it would show at once
    monkeypatch.setattr(np, "load", lambda path, **more: clock.pass_by(17_000_000_000) or read(path, **more))
    monkeypatch.setattr(engines, "load", load)
    monkeypatch.setattr(PyWhisperCpp, "library", staticmethod(lambda: clock.pass_by(11_000_000_000)))
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
def work(tmp_path):
    paths = []
    for number, length in enumerate(LENGTHS):
        paths.append(tmp_path / f"{number}.npy")
        np.save(paths[-1], np.zeros(length, dtype=np.float32))
    (tmp_path / "progress").mkdir()
    return timed.Work(
        engine=PyWhisperCpp,
        model=engines.Model(Path("/m.bin"), Path("/folder"), 1, 1),
        device="cpu",
        threads=4,
        decoding=engines.Decoding(language="de", beam_size=5),
        clips=tuple(paths),
        progress=Progress(tmp_path / "progress"),
    )


def travelled(thing):
    """As it arrives in another process."""
    return pickle.loads(pickle.dumps(thing))


def turned(generator, at=lambda turn: None):
    """What it answers in the end; ``at`` is called before every turn but the first."""
    turn = 0
    while True:
        try:
            next(generator)
        except StopIteration as done:
            return travelled(done.value)
        at(turn := turn + 1)


def one_by_one(work, at=lambda turn: None):
    return turned(timed.one_by_one(travelled(work)), at)


def test_one_clip_warms_up_then_every_clip_is_heard_in_its_order_one_in_every_turn(host, work):
    turns = []
    one_by_one(work, lambda turn: turns.append(len(heard(host))))
    assert heard(host) == [16_000, *LENGTHS]
    assert turns == [1, 2, 3, 4, 5]


def test_what_is_spent_is_the_time_of_the_call_in_nanoseconds(host, work):
    answer = one_by_one(work)
    assert (answer.durations_ns.shape, answer.durations_ns.dtype) == ((5,), np.int64)
    assert (answer.first_segment_ns.shape, answer.first_segment_ns.dtype) == ((5,), np.int64)
    shares = [length * 100_000 // 16 for length in LENGTHS]  # a tenth of the audio, and 1 ms per call: the first warmed
    assert answer.durations_ns.tolist() == [share + (2 + place) * 1_000_000 for place, share in enumerate(shares)]
    assert answer.first_segment_ns.tolist() == [5_000_000] * 5
    assert answer.beside_ns.tolist() == [7, 8, 5, 9, 3], "of 7 and 4, 1 and 8, 5 and 2, 9 and 6, 3 and 0"
    assert work.progress.durations_ns().tolist() == answer.durations_ns.tolist()


def test_it_ends_when_its_next_turn_begins_after_it_was_told_to(host, work):
    answer = one_by_one(work, lambda turn: turn == 4 and work.progress.stop())
    assert heard(host) == [16_000, *LENGTHS[:3]]
    assert (answer.durations_ns > 0).tolist() == [True, True, True, False, False]
    assert answer.first_segment_ns[3:].tolist() == answer.beside_ns[3:].tolist() == [0, 0]
    assert len(answer.transcripts) == len(work.progress.durations_ns()) == 3


def test_where_nothing_is_heard_the_first_segment_is_known_at_the_end(host, work):
    host["silent"] = (64_000,)
    answer = one_by_one(work)
    assert answer.first_segment_ns[2] == answer.durations_ns[2] == 404_000_000
    assert answer.first_segment_ns[3] == 5_000_000
    assert answer.transcripts[2] == Transcript(())


def test_loading_is_timed_without_the_import_and_the_texts_are_in_the_order_of_the_clips(host, work):
    answer = one_by_one(work)
    assert answer.load_seconds == 3.0
    assert (answer.versions, answer.ran_on) == ({"a library": "9"}, "a fake with 4 threads")
    assert answer.transcripts == tuple(
        Transcript((Segment(0.25, 1.5, f" call {place + 2} "), Segment(1.5, 2.0, f"of {length}")))
        for place, length in enumerate(LENGTHS)
    )


def test_the_engine_is_loaded_as_it_was_asked_for(host, work):
    one_by_one(work)
    (_, engine, threads, device, decoding, model), *_ = host["calls"]
    assert (engine, threads, device) == (PyWhisperCpp, 4, "cpu")
    assert decoding == engines.Decoding(language="de", beam_size=5)
    assert model == engines.Model(Path("/m.bin"), Path("/folder"), 51_864, 7), "what the file says, and not the plan"


def test_the_progress_names_the_clip_that_failed(host, work):
    host["dies_at"] = 64_000
    work.progress.marks.write_bytes(b"of an earlier, longer run")
    with pytest.raises(NotMeasured, match="it died"):
        one_by_one(work)
    assert (WAITING, AT_WORK, DONE) == (b"\0", b"\1", b"\2")
    # the fourth was done because it warmed
    assert work.progress.marks.read_bytes() == DONE + DONE + AT_WORK + DONE + WAITING
    assert work.progress.at_work() == [2]
    host["dies_at"] = None
    one_by_one(work)
    assert work.progress.marks.read_bytes() == DONE * 5


@pytest.mark.parametrize(
    ("lengths", "place"),
    [([9_600, 40_000, 16_000, 20_000], 2), ([15_999, 3, 15_998], 0), ([3, 15_999, 7], 1), ([16_001], 0)],
)
def test_what_warms_is_the_shortest_that_is_work_at_all(lengths, place):
    assert timed.warming_clip([np.zeros(length) for length in lengths]) == place


def in_batches(work, at=lambda turn: None, **more):
    given = {"batch_size": 2, "passes": 2, "splits": (), "in_one_call": False}
    given["seconds_one_by_one"] = (4.0, 0.5, 6.0, 1.0, 2.0)
    return turned(timed.in_batches(travelled(timed.InBatches(work, **(given | more)))), at)


def ways(answer):
    return [(trial.way.contexts, trial.way.threads, trial.way.at_once) for trial in answer.trials]


def seconds(answer):
    return [trial.seconds for trial in answer.trials]


def heard(host):
    return [call[1] for call in host["calls"] if call[0] == "hear"]


def test_clips_of_like_length_share_a_batch_and_the_longest_starts_first(host, work):
    answer = in_batches(work)
    one_pass = [64_000, 40_000, 24_000, 16_000, 9_600]
    assert heard(host) == [16_000, *one_pass, *one_pass]  # one context, which was not tried before: it is warmed
    assert [text.split(" of ")[1] for text in answer.texts] == [str(length) for length in LENGTHS]
    assert answer.texts[0] == "call 8 of 40000", "those of the last pass, in the order of the clips"


def test_the_time_of_a_batch_is_that_of_all_its_clips_and_each_has_its_turn(host, work):
    turns = []
    seconds = in_batches(work, lambda turn: turns.append(len(heard(host)))).seconds
    # 6.5, 2.5 and 0.6 s of audio; the calls 2 and 3, 4 and 5, and 6; then 7 to 11
    assert seconds == pytest.approx(np.array([[0.655, 0.259, 0.066], [0.665, 0.269, 0.071]]))
    assert turns == [1, 3, 5, 6, 8, 10]
    assert work.progress.durations_ns() == pytest.approx(seconds.ravel() * 1e9)


def test_it_ends_before_a_batch_when_it_was_told_to(host, work):
    seconds = in_batches(work, lambda turn: turn == 5 and work.progress.stop()).seconds
    assert (seconds > 0).tolist() == [[True, True, True], [True, False, False]]


def test_a_pass_that_was_not_begun_is_none(host, work):
    assert in_batches(work, lambda turn: turn == 4 and work.progress.stop()).seconds.shape == (1, 3)


def test_without_a_split_one_context_is_taken_at_the_time_it_took_alone(host, work):
    answer = in_batches(work)
    # the last full batch holds the fifth and the fourth clip
    assert answer.trials == (timed.Trial(timed.Way(1, 4), 3.0),)
    assert (answer.way, answer.ran_on) == (timed.Way(1, 4), "a fake with 4 threads")


def test_the_fastest_split_is_taken_and_each_of_its_contexts_was_warmed(host, work):
    answer = in_batches(work, splits=((2, 2), (4, 1)), passes=1)
    loads = [call[2] for call in host["calls"] if call[0] == "load"]
    assert loads == [2, 2, 1, 1, 1, 1]
    assert [call[0] for call in host["calls"][:6]] == ["load", "load", "hear", "hear", "hear", "hear"]
    assert heard(host)[:2] == [16_000, 16_000]
    assert sorted(heard(host)[2:4]) == [16_000, 24_000]  # side by side
    assert heard(host)[4:8] == [16_000] * 4
    for _, engine, _, device, decoding, model in [call for call in host["calls"] if call[0] == "load"]:
        assert (engine, device, str(model.ggml), model.n_vocab) == (PyWhisperCpp, "cpu", "/m.bin", 51_864)
        assert decoding == engines.Decoding(language="de", beam_size=5)
    # 2.5 s of audio take 250 ms; the calls 3 and 4, then 9 and 10, add their milliseconds
    assert seconds(answer) == pytest.approx([3.0, 0.257, 0.269])
    assert answer.way == timed.Way(2, 2)
    assert len(heard(host)) == 2 + 2 + 4 + 2 + 5


def test_splits_are_tried_with_two_of_the_shortest_clips_for_each_context(host, work):
    in_batches(work, splits=((2, 2),), batch_size=5, passes=1)
    assert sorted(heard(host)[2:6]) == [9_600, 16_000, 24_000, 40_000], "the longest of the five is left out"


def test_no_more_contexts_are_tried_where_more_were_clearly_slower(host, work):
    given = {"splits": ((2, 2), (4, 1)), "passes": 1}
    # 250 ms of work, and the milliseconds of the calls 3 and 4
    answer = in_batches(work, seconds_one_by_one=(9.0, 9.0, 9.0, 0.1, 0.1), **given)
    assert ways(answer) == [(1, 4, 1), (2, 2, 1)]
    assert answer.way == timed.Way(1, 4)
    host["calls"].clear()
    answer = in_batches(work, seconds_one_by_one=(9.0, 9.0, 9.0, 0.11, 0.11), **given)
    assert ways(answer) == [(1, 4, 1), (2, 2, 1), (4, 1, 1)], "slower, but not clearly"


def test_a_batch_in_one_call_is_tried_even_where_more_contexts_were_slower(batching, work):
    answer = in_batches(work, splits=((2, 2), (4, 1)), in_one_call=True, seconds_one_by_one=(9.0, 9.0, 9.0, 0.01, 0.01))
    assert ways(answer) == [(1, 4, 1), (2, 2, 1), (1, 4, 2)]


def test_a_batch_in_one_call_is_taken_where_it_is_the_fastest_and_it_was_warm(batching, work):
    answer = in_batches(work, splits=((2, 2),), in_one_call=True)
    together = [call[1] for call in batching["calls"] if call[0] == "together"]
    # warm with as many clips as it is then given, tried with the last full batch, then two passes over all batches
    one_pass = [[64_000, 40_000], [24_000, 16_000], [9_600]]
    assert together == [[16_000, 16_000], [24_000, 16_000], *one_pass, *one_pass]
    assert ways(answer) == [(1, 4, 1), (2, 2, 1), (1, 4, 2)]
    assert seconds(answer)[-1] == pytest.approx(0.052)
    assert answer.way == timed.Way(1, 4, 2)
    assert answer.seconds == pytest.approx(np.array([[0.052, 0.052, 0.051]] * 2))
    assert answer.texts == tuple(f"{length} together" for length in LENGTHS)


def test_a_batch_in_one_call_that_is_slower_is_not_taken(batching, work):
    answer = in_batches(work, in_one_call=True, seconds_one_by_one=[4.0, 0.5, 6.0, 0.02, 0.03], passes=1)
    assert seconds(answer) == pytest.approx([0.05, 0.052])
    assert answer.way.at_once == 1
    assert [call[0] for call in batching["calls"]].count("together") == 2
    assert answer.texts[0].endswith("of 40000"), "one after the other"


def test_a_batch_of_one_clip_is_not_tried_in_one_call(batching, work):
    assert in_batches(work, in_one_call=True, batch_size=1).way.at_once == 1
    assert [call for call in batching["calls"] if call[0] == "together"] == []


def test_a_batch_that_fails_in_one_call_is_named_by_the_progress(batching, work):
    batching["dies_at"] = 24_000
    with pytest.raises(NotMeasured, match="it died"):
        in_batches(work, in_one_call=True)
    assert work.progress.marks.read_bytes() == WAITING + WAITING + WAITING + AT_WORK + AT_WORK


def test_the_log_says_what_each_split_took(host, work, caplog):
    caplog.set_level("INFO")
    in_batches(work, splits=((2, 2), (4, 1)), passes=1)
    assert "pywhispercpp: 1 × 4: 3.0 s, 2 × 2: 0.3 s, 4 × 1: 0.3 s" in caplog.messages


def test_the_log_says_what_a_batch_in_one_call_took(batching, work, caplog):
    caplog.set_level("INFO")
    in_batches(work, in_one_call=True, passes=1)
    assert "pywhispercpp: 1 × 4: 3.0 s, 1 × 4 (2 at once): 0.1 s" in caplog.messages


def test_a_split_that_takes_as_long_as_one_context_is_not_taken(host, work, clock, monkeypatch):
    monkeypatch.setattr(timed, "perf_counter", lambda: clock.now / 1e6)  # whole numbers, so that they can be equal
    answer = in_batches(work, splits=((2, 2),), seconds_one_by_one=[9.0, 9.0, 9.0, 250.0, 7.0], passes=1)
    assert seconds(answer) == [257.0, 257.0]
    assert answer.way == timed.Way(1, 4)


def test_a_split_that_is_no_faster_is_not_taken(host, work):
    host["share"] = 1.2  # 2.5 s of audio then take 3 s and a few milliseconds
    answer = in_batches(work, splits=((2, 2),), passes=1)
    assert answer.way == timed.Way(1, 4)
    assert [call[2] for call in host["calls"] if call[0] == "load"] == [2, 2, 4]


def test_a_clip_that_fails_in_a_batch_is_named_by_the_progress(host, work):
    host["dies_at"] = 24_000
    with pytest.raises(NotMeasured, match="it died"):
        in_batches(work)
    assert work.progress.at_work() == [4]
