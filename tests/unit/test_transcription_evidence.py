"""The figures of one engine, from hand-made times and texts in which no two values are the same."""

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from scipy.stats import t

from nightgate.errors import ChildError, NotMeasured
from nightgate.facts import Pace
from nightgate.measure import estimates
from nightgate.measure.child import ChildResult
from nightgate.measure.device_memory import DeviceMemory
from nightgate.record import Record
from nightgate.transcription import metrics
from nightgate.transcription.clips.folder import SavedClip
from nightgate.transcription.engines import Segment, Transcript
from nightgate.transcription.evidence import Evidence
from nightgate.transcription.repeats import Repeated
from nightgate.transcription.scoring import character_errors
from nightgate.transcription.timed import InBatchesAnswer, OneByOneAnswer, Trial, Way

TEXTS = ["red green blue", "one small step for man", "so", "the rain in Spain falls", "yes", "stay here now"]
HEARD = ["red green blue", "one small step for a man", "", "the train in Spain", "yes", "stay hear now"]
ERRORS, WORDS = [0, 1, 1, 2, 0, 1], [3, 5, 1, 5, 1, 3]
SECONDS = [2.0, 4.0, 1.5, 5.0, 2.5, 3.0]  # 18 s of audio
FIRST = np.array([[200, 410, 160, 520, 360, 310], [220, 400, 150, 510, 340, 330], [210, 430, 140, 530, 350, 300]])
SECOND = np.array([[230, 440, 170, 500, 400, 290], [190, 420, 130, 540, 990, 320]])
MS = 1_000_000

exactly = partial(pytest.approx, rel=1e-12)


def clips(*, text=TEXTS, **more):
    return [
        SavedClip(
            id=f"clip-{place}", file=f"{place}.npy", seconds=seconds, sha256="0", text=text[place],
            **{name: values[place] for name, values in more.items()},
        )
        for place, seconds in enumerate(SECONDS)
    ]  # fmt: skip


def texts_but(place, text):
    return [*TEXTS[:place], text, *TEXTS[place + 1 :]]


def child(
    durations, first_segments, texts=HEARD, *, load=0.5, peak=1000, version="1.2", ran_on="cpu, 2 threads", beside=None
):
    answer = OneByOneAnswer(
        versions={"fake": version, "its-backend": "7"},
        ran_on=ran_on,
        load_seconds=load,
        durations_ns=durations,
        first_segment_ns=first_segments,
        beside_ns=first_segments // 7 if beside is None else beside,
        transcripts=tuple(Transcript((Segment(0.0, 1.0, text),) if text else ()) for text in texts),
    )
    return ChildResult(answer, peak, 9.0)


def batch_child(texts, seconds=((3.0, 1.0), (3.5, 1.5), (2.25, 0.75))):
    answer = InBatchesAnswer(
        trials=(Trial(Way(1, 6), 8.5), Trial(Way(2, 3), 8.0)),
        way=Way(2, 3),
        ran_on="cpu",
        seconds=np.array(seconds),
        texts=tuple(texts),
    )
    return ChildResult(answer, 7000, 9.0)


def evidence(texts=HEARD, *, language="en", clips_=None, second=None):
    record = Record(benchmark="transcription", variant="fake", device="cpu", status="measured")
    one = Evidence(record, clips_ or clips(), language)
    for times in FIRST * MS:
        one.add_process(child(times, times // 4, texts))
    for times in SECOND * MS:
        one.add_process(
            child(times, times // 2, second or texts, load=0.9, peak=3000, version="other", ran_on="elsewhere")
        )
    return one


@pytest.fixture
def samples(tmp_path):
    return tmp_path / "transcription-cpu.npz"


def test_the_speed_is_the_time_of_a_pass_over_its_audio(samples):
    one = evidence()
    raw = one.finish(samples)
    passes = np.array([1.960, 1.950, 1.960, 2.030, 2.590])
    half = t.ppf(0.975, 24) * passes.std(ddof=1) / 18 / 5**0.5  # five repeats of six clips
    xrt, rtfx = one.record.metrics["xrt"], one.record.metrics["rtfx"]
    assert (xrt.value, xrt.n) == (exactly(10.49 / 5 / 18), 5)
    assert xrt.ci95 == exactly((10.49 / 90 - half, 10.49 / 90 + half))
    assert (rtfx.value, rtfx.n) == (exactly(90 / 10.49), 5)
    assert rtfx.ci95 == exactly((1 / (10.49 / 90 + half), 1 / (10.49 / 90 - half)))
    assert rtfx.ci95[0] < rtfx.value < rtfx.ci95[1]
    assert raw["fake/xrt_repeats"] == exactly(passes / 18)


def test_the_memory_of_a_device_is_told_one_by_one_and_in_batches(samples):
    one = evidence()
    for place, taken in enumerate((6_000, 5_000)):
        one._processes[place] = replace(one._processes[place], device_memory=DeviceMemory(taken, "process"))
    one.add_batches(
        replace(batch_child(["one two three", "four five"]), device_memory=DeviceMemory(9_000, "process")), 2, [0, 1]
    )
    one.finish(samples)
    assert one.record.metrics["peak_device_bytes"].value == 6_000
    assert one.record.detail["batch"]["peak_device_bytes"] == 9_000
    alone = evidence()
    alone.finish(samples)
    assert "peak_device_bytes" not in alone.record.metrics


def test_a_speed_that_may_be_zero_leaves_its_inverse_without_an_interval():
    one = evidence()
    one._put_ratio(metrics.XRT, metrics.RTFX, Repeated(np.array([[0.1], [9.0], [0.2]])), 10.0)
    assert one.record.metrics["xrt"].ci95[0] < 0
    assert one.record.metrics["rtfx"].ci95 is None
    one._put_ratio(metrics.XRT, metrics.RTFX, Repeated(np.array([[0.1, 0.3]])), 2.0)
    assert (one.record.metrics["xrt"].ci95, one.record.metrics["rtfx"].ci95) == (None, None)
    assert (one.record.metrics["rtfx"].value, one.record.metrics["rtfx"].n) == (exactly(5), 1)


def test_a_repeat_that_was_broken_off_counts_as_far_as_it_came(samples):
    one = Evidence(evidence().record, clips())
    short = np.where(np.arange(6) < 4, SECOND[0], 0) * MS
    one.add_process(child(FIRST[0] * MS, FIRST[0] * MS // 4))
    assert one.reached is None
    one.look(SECOND[0, :2] * MS)
    early = one.reached
    one.add_process(child(short, short // 2, HEARD[:4]))
    assert one.reached == Repeated(np.array([FIRST[0], short // MS])).half_width != early
    raw = one.finish(samples)
    means = [215, 425, 165, 510, 360, 310]
    assert one.record.metrics["xrt"].value == exactly(sum(means) / 18_000)
    assert one.record.metrics["xrt_p95"].value == exactly(0.36 / 2.5)
    assert raw["fake/durations_ns"].tolist() == [(FIRST[0] * MS).tolist(), short.tolist()]
    assert raw["fake/first_segment_ns"][1].tolist() == (short // 2).tolist()
    # the levels come from the four clips that both heard
    levels = np.array([200 + 410 + 160 + 520, 230 + 440 + 170 + 500]) / sum(means[:4])
    assert raw["fake/xrt_repeats"] == exactly(levels * sum(means) / 18_000)
    assert one.seconds_one_by_one([3, 4]) == exactly([0.51, 0.36])
    rows = [json.loads(line) for line in samples.with_name("transcription-cpu-fake.jsonl").read_text().splitlines()]
    assert [row["time"] for row in rows] == exactly([each / 1000 for each in means])


def test_the_states_of_the_host_are_told_beside_the_clips(samples):
    one = Evidence(evidence().record, clips())
    short = np.where(np.arange(6) < 4, SECOND[0], 0) * MS
    one.add_process(child(FIRST[0] * MS, FIRST[0] * MS // 4, beside=np.array([100, 126, 131, 200, 110, 99])))
    one.add_process(child(short, short // 2, HEARD[:4], beside=np.array([98, 125, 300, 90, 0, 0])))
    assert one.readings.tolist() == [100, 126, 131, 200, 110, 99, 98, 125, 300, 90]
    raw = one.finish(samples, [104.0, 100.8])
    share = one.record.metrics["fast_share"]
    assert (share.value, share.n, share.ci95) == (exactly(0.7), 10, None)
    assert one.record.facts.pace == Pace(fastest_seconds=100.8 / 1e9, measurements=2, within=1.25)
    assert raw["fake/beside_ns"].tolist() == [[100, 126, 131, 200, 110, 99], [98, 125, 300, 90, 0, 0]]
    alone = evidence()
    alone.finish(samples)
    assert alone.record.facts.pace is None and "fast_share" not in alone.record.metrics


def test_rounds_of_engines_that_took_turns_are_kept_in_their_order(samples):
    one = Evidence(evidence().record, clips())
    one.by_clip = True
    one.add_process(child(FIRST[0] * MS, FIRST[0] * MS // 4))
    short = np.where(np.arange(6) < 2, SECOND[0], 0) * MS
    one.add_process(child(short, short // 2, HEARD[:2]))
    rounds = one.finish(samples)["fake/round_seconds"]
    assert rounds.dtype == np.float64
    assert rounds[:8] == exactly([0.2, 0.41, 0.16, 0.52, 0.36, 0.31, 0.23, 0.44])
    assert np.isnan(rounds[8:]).tolist() == [True] * 4
    assert "fake/round_seconds" not in evidence().finish(samples)


def test_of_each_clip_the_median_over_all_repeats_counts(samples):
    one = evidence()
    one.finish(samples)
    slowest = one.record.metrics["xrt_p95"]
    assert (slowest.value, slowest.n) == (exactly(0.36 / 2.5), 6)
    # a quarter of the time in the first three processes, half of it in the others
    waited = np.median(np.concatenate([FIRST / 4, SECOND / 2]), axis=0) / 1000
    first = one.record.metrics["first_segment_latency"]
    value, n, ends = estimates.quantile(waited, 0.5)
    assert (first.value, first.n, first.ci95) == (exactly(value), n, ends and exactly(ends))
    assert value == exactly(0.09)  # of 40, 55, 82.5, 90, 107.5 and 132.5 ms the upper middle one


def test_errors_are_summed_over_all_clips_and_a_silent_one_counts_with_its_words(samples):
    one = evidence()
    raw = one.finish(samples)
    wer, cer = one.record.metrics["wer"], one.record.metrics["cer"]
    assert (one.record.status, one.record.reason) == ("measured", None)
    assert (wer.value, wer.n) == (exactly(5 / 18), 18)
    assert wer.ci95 == exactly(estimates.error_rate(np.array(ERRORS), np.array(WORDS))[2])
    assert raw["fake/wer_errors"].tolist() == ERRORS
    assert raw["fake/wer_words"].tolist() == WORDS
    errors, characters = character_errors(TEXTS, HEARD)
    assert (cer.value, cer.n) == (exactly(errors.sum() / characters.sum()), characters.sum())
    assert raw["fake/cer_errors"].tolist() == errors.tolist() != ERRORS
    assert raw["fake/cer_characters"].tolist() == [14, 22, 2, 23, 3, 13]
    assert one.record.detail["heard_nothing_in"] == ["clip-2"]


def test_words_that_are_heard_in_silence_are_insertions(samples):
    one = evidence(clips_=clips(text=texts_but(4, "")))  # music
    raw = one.finish(samples)
    assert raw["fake/wer_words"].tolist() == [3, 5, 1, 5, 0, 3]
    assert one.record.metrics["wer"].value == exactly(6 / 17)
    assert one.record.metrics["wer"].ci95[1] > 6 / 17
    assert one.record.detail["heard_nothing_in"] == ["clip-2"], "no word was missed where none was spoken"


@pytest.mark.parametrize("nothing", ["", "...", "[BLANK_AUDIO]", "\N{MUSIC NATURAL SIGN}"])
def test_an_engine_that_hears_nothing_at_all_is_no_measurement(samples, nothing):
    one = evidence([nothing] * 6)
    raw = one.finish(samples)
    assert (one.record.status, one.record.metrics) == ("failed", {})
    assert one.record.reason == "fake returned no text for any of the 6 clips"
    assert raw["fake/durations_ns"].shape == (5, 6), "the times stay as evidence"


def test_what_it_hears_in_silence_is_no_proof_that_it_hears(samples):
    one = evidence(["", "you", "", "", "", ""], clips_=clips(text=texts_but(1, "")))
    one.finish(samples)
    assert one.record.status == "failed"


def test_one_word_in_one_clip_is_enough(samples):
    one = evidence(["", "", "", "", "yes", ""])
    one.finish(samples)
    assert one.record.status == "measured"
    assert one.record.metrics["wer"].value == exactly(17 / 18)
    assert one.record.detail["heard_nothing_in"] == ["clip-0", "clip-1", "clip-2", "clip-3", "clip-5"]


def test_a_hesitation_is_nothing_in_english_alone(samples):
    hums = ["Hmm.", *HEARD[1:]]
    for language, missed in (("en", ["clip-0", "clip-2"]), ("de", ["clip-2"])):
        one = evidence(hums, language=language)
        one.finish(samples)
        assert one.record.detail["heard_nothing_in"] == missed


def test_an_answer_of_another_length_is_none(samples):
    for texts in (HEARD[:-1], [*HEARD, "more"]):
        for second in (texts, HEARD):
            one = evidence(texts, second=second)
            one.add_batches(batch_child(HEARD[:2]), 2, [0, 1])
            with pytest.raises(ValueError, match="zip"):
                one._must_hear_something(texts)
            with pytest.raises(ValueError, match="zip"):
                Evidence._all_silent(one.clips, texts, one.languages)
            with pytest.raises(ValueError, match="zip"):
                one._write_transcripts(samples.with_name("never.jsonl"))
    one = evidence(second=HEARD[:-1])
    with pytest.raises(ValueError, match="zip"):
        one._estimate()
    one.attempt(Evidence._estimate)
    assert one.record.status == "failed"
    assert one.record.reason.startswith("ValueError: zip()")


def test_where_nobody_speaks_there_is_a_speed_and_no_error_rate(samples):
    one = evidence([""] * 6, clips_=clips(text=[""] * 6))
    one.finish(samples)
    assert one.record.status == "measured"
    assert "xrt" in one.record.metrics
    assert not {"wer", "cer"} & set(one.record.metrics)
    assert "heard_nothing_in" not in one.record.detail


def test_a_truth_that_is_only_a_hesitation_asks_for_no_answer(samples):
    hums = clips(text=["", "Hmm.", "", "", "", ""])
    for language, status in (("en", "measured"), ("de", "failed")):
        one = evidence([""] * 6, clips_=hums, language=language)
        one.finish(samples)
        assert one.record.status == status
        assert one.record.detail.get("heard_nothing_in", []) == ([] if language == "en" else ["clip-1"])


def test_loading_memory_version_and_place(samples):
    one = evidence()
    one.finish(samples)
    value = {name: (metric.value, metric.n) for name, metric in one.record.metrics.items()}
    assert value["load_seconds"] == (exactly(0.66), 5)
    assert value["peak_rss_bytes"] == (3000, 1)
    assert one.record.facts.provenance.versions == {"fake": "1.2", "its-backend": "7"}
    assert one.record.detail["ran_on"] == "cpu, 2 threads"
    assert one.record.samples == "transcription-cpu.npz"
    assert one.record.finished_at.endswith("Z")


def test_the_raw_times_are_kept_in_the_order_of_the_processes(samples):
    raw = evidence().finish(samples)
    assert raw["fake/durations_ns"].tolist() == [*(FIRST * MS).tolist(), *(SECOND * MS).tolist()]
    assert raw["fake/first_segment_ns"].tolist() == [*(FIRST * MS // 4).tolist(), *(SECOND * MS // 2).tolist()]


def test_what_the_second_process_heard_otherwise_is_named(samples):
    one = evidence(second=[*HEARD[:3], "the rain in Spain", *HEARD[4:]])
    one.finish(samples)
    assert one.record.detail["heard_differently_the_second_time"] == ["clip-3"]
    assert one.record.metrics["wer"].value == exactly(5 / 18), "the first counts"


def test_transcripts_are_kept_with_the_median_time(samples):
    evidence(clips_=clips(source=[f"{place}.wav" for place in range(6)])).finish(samples)
    rows = [json.loads(line) for line in samples.with_name("transcription-cpu-fake.jsonl").read_text().splitlines()]
    assert [row["time"] for row in rows] == exactly([0.21, 0.42, 0.15, 0.52, 0.36, 0.31])
    assert rows[3] == {
        "audio_filepath": "3.wav", "id": "clip-3", "duration": 5.0, "time": exactly(0.52), "text": TEXTS[3],
        "pred_text": "the train in Spain", "segments": [[0.0, 1.0, "the train in Spain"]],
    }  # fmt: skip
    assert (rows[2]["pred_text"], rows[2]["segments"]) == ("", [])
    assert [file.name for file in samples.parent.iterdir()] == ["transcription-cpu-fake.jsonl"]


def test_a_clip_without_a_source_is_named_by_its_file(samples):
    evidence().finish(samples)
    rows = [json.loads(line) for line in samples.with_name("transcription-cpu-fake.jsonl").read_text().splitlines()]
    assert [row["audio_filepath"] for row in rows] == [f"{place}.npy" for place in range(6)]


def test_transcripts_are_readable_in_any_script(samples):
    texts = ["Maßen 今天", *TEXTS[1:]]
    evidence(texts, clips_=clips(text=texts)).finish(samples)
    written = samples.with_name("transcription-cpu-fake.jsonl").read_bytes()
    assert written.count("Maßen 今天".encode()) == 3  # the truth, what was heard, and its segment
    assert written.endswith(b"}\n")


def test_batches_are_compared_with_the_same_clips_one_by_one(samples):
    one = evidence()
    one.add_batches(batch_child([HEARD[3], HEARD[1], ""]), 8, [3, 1, 2])
    raw = one.finish(samples)
    batch = one.record.detail["batch"]
    means = np.concatenate([FIRST, SECOND]).mean(axis=0)[[3, 1, 2]] / 1000
    assert batch == {
        "size": 8, "clips": 3, "audio_seconds": 10.5, "contexts": 2, "threads": 3, "at_once": 1,
        "calibration": [
            {"contexts": 1, "threads": 6, "at_once": 1, "seconds": 8.5}, {"contexts": 2, "threads": 3, "at_once": 1, "seconds": 8.0},
        ],
        "speedup_over_one_by_one": exactly(means.sum() / 4.0), "wer": exactly(4 / 11),
        "peak_rss_bytes": 7000,
    }  # fmt: skip
    assert one.seconds_one_by_one([3, 1, 2]) == exactly(means.tolist())
    xrt, rtfx = one.record.metrics["batch_xrt"], one.record.metrics["batch_rtfx"]
    assert (xrt.value, xrt.n) == (exactly(4 / 10.5), 3)
    assert xrt.ci95 == exactly([(4 + sign * t.ppf(0.975, 4) / 3**0.5) / 10.5 for sign in (-1, 1)])
    assert rtfx.ci95 == exactly((1 / xrt.ci95[1], 1 / xrt.ci95[0]))
    assert raw["fake/batch_seconds"].tolist() == [4.0, 5.0, 3.0]


def test_a_batch_in_which_nobody_speaks_has_no_error_rate():
    one = evidence(clips_=clips(text=texts_but(2, "")))
    one.add_batches(batch_child([""]), 1, [2])
    assert one.detail.as_data()["batch"]["wer"] is None


@pytest.mark.parametrize("error", [ChildError("was ended by SIGABRT"), NotMeasured("ran out")])
def test_batches_that_fail_take_nothing_with_them(samples, error):
    def fails(one):
        raise error

    one = evidence()
    one.beside("batch", fails)
    one.finish(samples)
    assert one.record.status == "measured"
    assert one.record.facts.not_measured == {"batch": error.what}
    assert {"xrt", "wer", "cer"} <= set(one.record.metrics)
    assert "batch_xrt" not in one.record.metrics


def test_batches_that_hear_nothing_are_not_measured(samples):
    one = evidence()
    one.beside("batch", partial(Evidence.add_batches, child=batch_child(["", "..."]), size=2, places=[0, 1]))
    one.finish(samples)
    assert one.record.facts.not_measured == {"batch": "fake heard nothing in any of 2 clips in batches"}
    assert "batch" not in one.record.detail
    assert one.record.status == "measured"


def test_no_batch_is_tried_with_an_engine_that_failed():
    one = evidence()
    one.fail("broken")
    tried = []
    one.beside("batch", tried.append)
    assert tried == []
    assert (one.record.status, one.record.reason) == ("failed", "broken")


def test_a_language_decides_how_errors_are_counted(samples):
    german = clips(text=["die Maßen", *["ja"] * 5])
    heard = ["die Massen", *["ja"] * 5]
    for language, expected in (("de", [1, 0, 0, 0, 0, 0]), ("en", [0] * 6)):
        assert evidence(heard, language=language, clips_=german).finish(samples)["fake/wer_errors"].tolist() == expected


def test_under_auto_the_label_of_a_clip_decides(samples):
    labels = ["de", None, "en-GB", None, "German", "nonsense"]
    one = evidence(language="auto", clips_=clips(language=labels))
    assert one.languages == ["de", "auto", "en", "auto", "de", "auto"]
    assert evidence(language="de", clips_=clips(language=labels)).languages == ["de"] * 6
    assert evidence(language="auto").languages == ["auto"] * 6, "no label, no language"
    assert Evidence(one.record, clips(language=labels)).languages == ["en"] * 6
