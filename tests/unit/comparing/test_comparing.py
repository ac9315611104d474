"""Two records side by side: by which method they are compared, and what is said."""

from __future__ import annotations

import numpy as np
import pytest
from support.compared import ERRORS, HOST, WORDS, engine, side_by_side
from support.specs import add

from nightgate import paths
from nightgate.measure import estimates, samples
from nightgate.record import Record

ELSEWHERE = HOST.model_copy(update={"fingerprint": "xyz"})
BETWEEN = "both intervals, and what differs between runs"


def with_characters(made, errors, words=WORDS):
    """The same engine with errors by characters as well, of clips with as many ``words``."""
    record, raw = made
    characters = 5 * words
    add(record, "cer", *estimates.error_rate(errors, characters))
    found = {"cer_errors": errors, "cer_characters": characters, "wer_words": words}
    return record, raw | {f"{record.variant}/{name}": array for name, array in found.items()}


def test_two_engines_of_one_run(night):
    run = night("a", engine("pywhispercpp"), engine("faster-whisper", 1.5, more_errors=2))
    found, rows = side_by_side(run, run)
    assert (found.first, found.second, found.notes) == ("pywhispercpp", "faster-whisper", [])
    assert list(rows) == ["xrt", "wer", "batch_xrt", "rtfx", "load_seconds"]
    assert rows["xrt"].difference.value == pytest.approx(1.5)
    assert rows["xrt"].difference.method.startswith("Welch")
    assert rows["xrt"].finding == "pywhispercpp is faster, 1.50 × (1.44–1.56)"
    assert rows["rtfx"].difference.value == pytest.approx(1 / 1.5)
    assert rows["rtfx"].finding == rows["xrt"].finding
    assert rows["batch_xrt"].finding.startswith("pywhispercpp is faster, 1.50 × (1.")
    assert rows["wer"].difference.method.startswith("paired bootstrap")
    assert rows["wer"].finding.startswith("pywhispercpp makes fewer errors, by 0.05")
    assert rows["load_seconds"].finding == "cannot be told: no interval, and too few runs are known"


def test_the_better_one_is_named_whichever_comes_first(night):
    run = night("a", engine("faster-whisper", 1.5, more_errors=2), engine("pywhispercpp"))
    _, rows = side_by_side(run, run)
    assert rows["xrt"].difference.value == pytest.approx(1 / 1.5)
    assert rows["xrt"].finding == "pywhispercpp is faster, 1.50 × (1.44–1.56)"
    assert rows["rtfx"].finding.startswith("pywhispercpp is faster, 1.50 ×")
    assert rows["wer"].difference.value < 0
    assert rows["wer"].finding.startswith("pywhispercpp makes fewer errors, by 0.05")


def test_one_variant_of_two_runs(night):
    before, after = night("a", engine("pywhispercpp")), night("b", engine("pywhispercpp", 1.002))
    found, rows = side_by_side(before, after)
    assert (found.first, found.second) == ("before", "after")
    assert rows["xrt"].finding == "no difference can be told"
    assert rows["wer"].finding == "no difference can be told"
    assert "only large differences can be told" in " ".join(found.notes)


def test_what_changed_between_two_runs_of_a_variant_is_told(night):
    def of(version, model):
        versions = {"ggml": version, "numpy": "2"}
        return engine(
            "pywhispercpp", facts={"inputs": {"clips": "s", "model": model}, "provenance": {"versions": versions}}
        )

    found, _ = side_by_side(night("a", of("1", "m1")), night("b", of("2", "m2")))
    assert "Between them changed: ggml 1 → 2, model m1 → m2" in found.notes
    found, _ = side_by_side(night("a", of("1", "m1")), night("b", of("1", "m1")))
    assert "changed" not in " ".join(found.notes)


def test_speeds_of_different_hosts_are_not_compared_but_error_rates_are(night):
    before, after = night("a", engine("pywhispercpp")), night("b", engine("pywhispercpp", 2.0, 2, host=ELSEWHERE))
    found, rows = side_by_side(before, after)
    for name in ("xrt", "rtfx", "batch_xrt", "load_seconds"):
        assert rows[name].finding == "cannot be told: different hosts", name
    assert rows["wer"].finding.startswith("before makes fewer errors")
    assert found.notes == ["Different hosts: speeds cannot be compared, recall and error rates can."]


@pytest.mark.parametrize("digest", ["other", None])
def test_error_rates_on_other_clips_are_not_paired(night, digest):
    record, raw = engine("faster-whisper", more_errors=2)
    record.facts.inputs = {"clips": digest} if digest else {}
    run = night("a", engine("pywhispercpp"), (record, raw))
    found, rows = side_by_side(run, run)
    assert rows["wer"].difference.method == BETWEEN
    assert rows["wer"].difference.scale == "difference"
    assert found.differences == (["clips (digest): s → other"] if digest else [])


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 torn", "an array", "a folder", "half", "flipped"])
def test_lost_samples_leave_the_intervals_and_a_note(night, tmp_path, content):
    run = night("a", engine("pywhispercpp"), engine("faster-whisper", 1.5))
    file = tmp_path / "a" / "transcription-cpu.npz"
    whole = file.read_bytes()
    if content is None:
        file.unlink()
    elif content == "half":
        file.write_bytes(whole[: len(whole) // 2])
    elif content == "a folder":
        file.unlink()
        file.mkdir()
    elif content == "an array":
        np.save(file.with_suffix(".npy"), np.ones(3))
        file.with_suffix(".npy").rename(file)
    elif content == "flipped":
        file.write_bytes(whole[:90] + bytes(60) + whole[150:])
    else:
        file.write_bytes(content)
    found, rows = side_by_side(run, run)
    assert rows["xrt"].difference.method == BETWEEN
    assert rows["xrt"].finding.startswith("pywhispercpp is faster, 1.50 × (1.")
    assert len(found.notes) == (1 if content == "flipped" else 2), "the bytes of one engine are damaged"
    assert all("transcription-cpu.npz" in note and "only the intervals" in note for note in found.notes)


def test_samples_of_an_older_version_leave_the_intervals_without_a_note(night):
    (first, _), (second, _) = engine("pywhispercpp"), engine("faster-whisper", 1.5)
    old = {f"{v}/durations_ns": np.ones((5, 8), np.int64) for v in ("pywhispercpp", "faster-whisper")}
    for record in (first, second):
        record.facts.inputs = {}
    run = night("a", (first, old), (second, {}))
    found, rows = side_by_side(run, run)
    assert {row.difference.method for row in found.rows} == {BETWEEN}
    assert rows["xrt"].difference.real
    assert found.notes == []


def test_samples_that_make_no_sense_are_not_used(night):
    record, raw = engine("faster-whisper", 1.5)
    raw |= {"faster-whisper/xrt_repeats": np.array([0.1, np.nan, 0.1]), "faster-whisper/wer_errors": np.ones(3)}
    run = night("a", engine("pywhispercpp"), (record, raw))
    _, rows = side_by_side(run, run)
    assert rows["xrt"].difference.method == rows["wer"].difference.method == BETWEEN


def test_samples_are_looked_for_in_the_run_only(night, tmp_path):
    record, raw = engine("pywhispercpp", samples="../b/transcription-cpu.npz")
    night("b", engine("pywhispercpp"))
    run = night("a", (record, {}))
    assert raw
    assert side_by_side(run, run)[1]["xrt"].difference.method == BETWEEN


@pytest.mark.parametrize(
    ("name", "values", "finding"),
    [
        ("recall_at_100", (0.90, 0.95), "after finds more, by 0.050"),
        ("qps", (100.0, 50.0), "before is faster, 2.0 × (1."),
        ("latency_p95", (0.001, 0.002), "before is faster, 2.0 × (1."),
        ("index_bytes", (2e6, 1e6), "after takes less, 2.00 × (1."),
    ],
)
def test_what_is_better_depends_on_the_metric(night, name, values, finding):
    made = []
    for run_id, value in zip("ab", values, strict=True):
        record = Record(benchmark="hybrid_ann", variant="hybrid", device="cpu", status="measured", host=HOST)
        add(record, name, value, 1000, (value * 0.99, value * 1.01))
        made.append(night(run_id, (record, {})))
    assert side_by_side(*made)[1][name].finding.startswith(finding)


def test_errors_by_characters_are_compared_clip_by_clip_as_well(night):
    fewer, more = ERRORS * 4 + 1, ERRORS * 4 + 9
    run = night("a", with_characters(engine("a"), fewer), with_characters(engine("b"), more))
    _, rows = side_by_side(run, run)
    assert rows["cer"].difference.method.startswith("paired bootstrap")
    assert rows["cer"].difference.value == pytest.approx(8 * 8 / (5 * WORDS.sum()))
    assert rows["cer"].finding.startswith("a makes fewer errors, by 0.04")


def test_a_clip_in_which_nobody_speaks_is_compared_with_the_others(night):
    words = WORDS.copy()
    words[2] = 0
    run = night(
        "a", with_characters(engine("a"), ERRORS, words), with_characters(engine("b", more_errors=2), ERRORS, words)
    )
    _, rows = side_by_side(run, run)
    assert rows["wer"].difference.method.startswith("paired bootstrap")
    silent = np.zeros(8, dtype=int)
    run = night("b", with_characters(engine("a"), ERRORS, words), with_characters(engine("b"), ERRORS, words))
    file = paths.run_dir(run.run_id) / "transcription-cpu.npz"
    for name in ("a", "b"):
        with np.load(file) as raw:
            kept = dict(raw)
        kept[f"{name}/wer_words"] = silent
        samples.save(file, kept)
    _, rows = side_by_side(run, run)
    assert rows["wer"].difference.method == BETWEEN


def took_turns(variant, times, name="round_seconds", **more):
    record, raw = engine(variant, **more)
    return record, raw | {f"{variant}/{name}": times}


def test_two_that_took_turns_are_compared_round_by_round(night):
    """Every third round was half as fast for both: that is no difference of theirs."""
    rng = np.random.default_rng(3)
    slow = np.where(np.arange(60) % 3 == 0, 1.0, 0.5) * rng.lognormal(0, 0.3, 60)
    times = [slow, slow * 1.03 * rng.lognormal(0, 0.005, 60)]
    run = night("a", took_turns("pywhispercpp", times[0]), took_turns("faster-whisper", times[1]))
    _, rows = side_by_side(run, run)
    assert rows["xrt"].difference.method == rows["rtfx"].difference.method == "the rounds in pairs"
    assert rows["xrt"].finding.startswith("pywhispercpp is faster, 1.03")
    assert rows["rtfx"].difference.value == pytest.approx(1 / rows["xrt"].difference.value)
    assert rows["rtfx"].finding == rows["xrt"].finding
    low, high = rows["xrt"].difference.interval
    assert 1.02 < low < 1.03 < high < 1.04
    again = night("b", took_turns("pywhispercpp", times[1]))
    assert side_by_side(run, again)[1]["xrt"].difference.method == BETWEEN, "rounds of two runs were no turns"


def test_a_round_that_one_of_them_did_not_make_is_no_pair(night):
    first = np.array([1.0, np.nan, 1.1, 1.2, 1.3, 1.0, 9.0, 9.0])
    second = np.array([2.0, 7.0, 2.2, 2.4, np.nan, 2.002])
    run = night("a", took_turns("a", first), took_turns("b", second))
    difference = side_by_side(run, run)[1]["xrt"].difference
    assert (difference.real, difference.reason) == (None, "4 rounds are too few, 5 are needed")
    assert difference.value == pytest.approx(2.0, rel=1e-3)
    run = night("b", took_turns("a", first), took_turns("b", np.full(8, np.nan)))
    assert side_by_side(run, run)[1]["xrt"].difference.method.startswith("Welch"), "no round was made by both"


def test_rounds_one_after_the_other_count_as_one_where_there_are_many(night):
    """A thousand rounds in which every hundred are alike are ten observations and no thousand."""
    rng = np.random.default_rng(4)
    level = np.repeat(rng.lognormal(0, 0.1, 10), 100)
    run = night("a", took_turns("a", np.ones(1000)), took_turns("b", level * rng.lognormal(0, 0.01, 1000)))
    low, high = side_by_side(run, run)[1]["xrt"].difference.interval
    assert high / low > 1.08, "1.01 if each counted"
