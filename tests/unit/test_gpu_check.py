"""The check of a GPU without one: what each part would conclude, how parts fail alone, and what the whole says."""

from __future__ import annotations

import importlib.util
import json
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from support import gpu_parts
from support.extras import needs_torch

from gpu import hybrid, neighbours, peaks, rerank, speech, speeds, table
from gpu.asked import FULL, LIMITS, SMALL, Asked
from gpu.outcome import Check, Finding, Outcome, at_least, at_most, concluded, demanded
from gpu.runner import Both, Part, chosen, run
from nightgate.errors import DriverError
from nightgate.record import Gpu, Host
from nightgate.transcription import engines

ROOT = Path(__file__).resolve().parents[2]
CARD = Gpu(name="NVIDIA H100 80GB HBM3", memory_bytes=80 * 2**30, driver="580.65", source="nvml")
HOST = Host(fingerprint="f", cpu="a cpu", cores=16, memory_bytes=2**37)
H100 = LIMITS["h100"]


@pytest.fixture(scope="module")
def check():
    """The script, as a module."""
    spec = importlib.util.spec_from_file_location("gpu_check", ROOT / "benchmarks" / "gpu_check.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    """The children find the parts by themselves."""
    paths = [str(ROOT / name) for name in ("benchmarks", "tests", "include")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([*paths, *filter(None, [os.environ.get("PYTHONPATH")])]))


@pytest.mark.parametrize(
    ("judged", "limit", "verdict"),
    [
        (at_most("x", 0.04, 0.05), "≤ 0.05", "held"),
        (at_most("x", 0.05, 0.05), "≤ 0.05", "held"),
        (at_most("x", 0.04, 0.05, ci95=(0.03, 0.051)), "≤ 0.05", "missed"),
        (at_most("x", 0.06, None), None, None),
        (at_least("x", 31.0, 30), "≥ 30", "held"),
        (at_least("x", 31.0, 30, ci95=(29.0, 33.0)), "≥ 30", "missed"),
        (at_least("x", 30.0, 30), "≥ 30", "held"),
        (demanded("x", True), "yes", "held"),
        (demanded("x", False), "yes", "missed"),
    ],
)
def test_a_value_is_judged_with_the_whole_of_its_interval(judged, limit, verdict):
    assert (judged.limit, judged.verdict) == (limit, verdict)


HELD, MISSED, TOLD = at_most("a", 1, 2), at_most("a", 3, 2), Finding(name="a", value=1)


@pytest.mark.parametrize(
    ("findings", "reasons", "status"),
    [
        ([HELD, TOLD], [], "held"), ([TOLD], [], "measured"), ([HELD, MISSED], [], "missed"), ([HELD], ["lost"], "not measured"),
        ([MISSED], ["lost"], "missed"), ([], ["lost"], "not measured"),
    ],
)  # fmt: skip
def test_a_part_is_as_good_as_its_worst_finding(findings, reasons, status):
    assert concluded("p", findings, reasons, 1.0).status == status


def whole(*statuses, fault=None, complete=True):
    return Check(
        started_at="t", host=HOST, device=None if fault else CARD, fault=fault, limits=None, versions={"python": "3.12"},
        outcomes=[Outcome(part=f"p{n}", status=status) for n, status in enumerate(statuses)], complete=complete,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("found", "code"),
    [
        (whole("held", "measured"), 0), (whole("held", "missed", "not measured"), 1), (whole("held", "not measured"), 3),
        (whole("held", fault="no device"), 3), (whole("missed", fault="no device"), 1), (whole("held", complete=False), 3),
    ],
)  # fmt: skip
def test_the_exit_code_says_whether_all_held(found, code):
    assert found.exit_code == code


def test_a_check_is_written_whole_and_reads_back(tmp_path):
    found = whole("held")
    found.write(tmp_path / "c.json")
    assert Check.model_validate_json((tmp_path / "c.json").read_text()) == found
    assert [path.name for path in tmp_path.iterdir()] == ["c.json"]


def part(name, measure=gpu_parts.fine, findings=gpu_parts.told, seconds=20, **known):
    return Part(name, measure, findings, seconds, **known)


@pytest.fixture
def outcomes(tmp_path):
    """``outcomes(parts, device=…)``: what running them tells."""

    def told(*parts, device="gpu", seconds=60.0):
        found = []
        asked = Asked(device, 1, tmp_path, SMALL, "tiny.en")
        run(parts, asked, None, seconds=seconds, tell=found.append)
        return found

    return told


def said(outcome):
    return [finding.value for finding in outcome.findings]


def test_a_part_is_measured_on_the_device_and_on_the_cpu(outcomes):
    both, alone, host = outcomes(part("a"), part("b", compared=False), part("c", sides=("cpu",)))
    assert [said(outcome) for outcome in (both, alone, host)] == [["cpu gpu"], ["gpu"], ["cpu"]]
    assert [outcome.status for outcome in (both, alone, host)] == ["measured"] * 3
    assert said(outcomes(part("a"), device="cpu")[0]) == ["cpu"]


@pytest.mark.parametrize(
    ("measure", "seconds", "reason"),
    [
        (gpu_parts.crash, 20, "on the gpu: bad was ended by SIGSEGV; its last words: last words"),
        (gpu_parts.hang, 0.5, "on the gpu: bad did not finish within 0 s. Next step: "),
        (gpu_parts.without_library, 20, "on the gpu: the package no_such_library is not installed"),
        (gpu_parts.fail, 20, "on the gpu: KeyError: 'missing'"),
        (gpu_parts.refuse, 20, "on the gpu: no number. Next step: look elsewhere"),
    ],
)
def test_a_part_that_fails_says_why_and_leaves_the_others(outcomes, measure, seconds, reason):
    bad, dependent, good = outcomes(part("bad", measure, seconds=seconds), part("d", needs=("bad",)), part("good"))
    assert bad.status == dependent.status == "not measured"
    assert bad.reasons[0].startswith(reason)
    assert len(bad.reasons) == 1, "the CPU was not asked, there is nothing to compare it with"
    assert dependent.reasons == ["it needs bad, see above"]
    assert (good.status, said(good)) == ("measured", ["cpu gpu"])


def test_a_device_that_cannot_be_compared_keeps_its_figures_and_is_not_called_held(outcomes):
    (found,) = outcomes(part("a", gpu_parts.crash_on_cpu))
    assert (found.status, said(found)) == ("not measured", ["gpu"])
    assert found.reasons[0].startswith("on the cpu: a was ended by SIGSEGV")


def test_findings_that_cannot_be_made_end_only_their_part(outcomes):
    bad, good = outcomes(part("a", findings=gpu_parts.cannot_judge), part("b", findings=gpu_parts.differs))
    assert (bad.status, good.status) == ("not measured", "missed")
    assert "ZeroDivisionError" in bad.reasons[0]


def test_what_a_part_needs_reaches_its_process(outcomes):
    seen = []
    look = part("b", findings=lambda both: seen.append(both.gpu) or [], needs=("a",))
    outcomes(part("a"), part("unrelated"), look)
    assert list(seen[0]["earlier"]) == ["a"]
    assert seen[0]["earlier"]["a"]["device"] == "gpu", "the device's result where there is one"
    assert seen[0]["pid"] != seen[0]["earlier"]["a"]["pid"] != os.getpid()


def test_when_the_budget_is_spent_the_rest_says_so(outcomes):
    (found,) = outcomes(part("a"), seconds=4)
    assert found.status == "not measured"
    assert found.reasons[0].startswith("on the gpu: no time is left of the 4 s. Next step: give more --seconds")


def test_only_some_are_chosen_with_what_they_need(check):
    def names(*groups):
        return [part.name for part in chosen(check.PARTS, groups)]

    assert names("whispercpp") == ["clips", "pywhispercpp"]
    assert names("faiss") == ["vectors", "neighbours", "hybrid"]
    assert names("torch") == ["peaks", "clips", "openai-whisper", "vectors", "neighbours", "rerank"]
    assert names("faiss", "whispercpp") == ["clips", "pywhispercpp", "vectors", "neighbours", "hybrid"]
    assert names() == [part.name for part in check.PARTS]


PEAKS = peaks.Peaks(bandwidth=3e12, float32=50e12, tf32=400e12, by="torch")


def test_the_peak_that_binds_is_the_one_that_takes_longer():
    assert PEAKS.least_seconds(flops=5e11, moved=3e9) == (0.01, "float32")
    assert PEAKS.least_seconds(flops=5e11, moved=6e10) == (0.02, "bandwidth")


def test_peaks_are_measured_on_a_cpu(tmp_path):
    asked = Asked("cpu", 1, tmp_path, replace(SMALL, copied_bytes=2**22, matrix=256), "m")
    found = peaks.measure(asked, {})
    assert 1e8 < found.bandwidth < 1e13 and 1e8 < found.float32 < 1e14 and found.tf32 is None
    (by, bandwidth, product) = peaks.findings(Both(found, None, {}, None))
    assert by.value.startswith("numpy") and bandwidth.value == found.bandwidth / 1e9
    assert product.value == found.float32 / 1e12
    assert len(peaks.findings(Both(None, PEAKS, {}, None))) == 4


def test_peaks_are_measured_through_torch_where_it_is(tmp_path):
    needs_torch()
    asked = Asked("gpu", 1, tmp_path, replace(SMALL, copied_bytes=2**22, matrix=256), "m")
    found = peaks._by_torch(asked, "cpu")
    assert min(found.bandwidth, found.float32, found.tf32) > 1e8
    assert found.by.startswith("torch ") and found.by.endswith(", cpu")


def test_the_fastest_round_counts_and_the_device_is_waited_for(monkeypatch):
    did, readings = [], iter([0, 9, 10, 12, *(moment for n in range(20, 28) for moment in (n * 10, n * 10 + 5))])
    monkeypatch.setattr(peaks.time, "perf_counter", lambda: next(readings))
    assert peaks._fastest(lambda: did.append("work"), lambda: did.append("wait")) == 2
    assert did == ["work", "wait"] * 11


def made_speeds(per_query=1e-5, spread=0.02):
    rng = np.random.default_rng(7)
    repeats = per_query * (1 + spread * rng.standard_normal(8))
    return speeds.Speeds(
        (rng.lognormal(-9, 0.2, 200) * 1e9).astype(np.int64), {size: repeats for size in (1, 10, 100, 1000)}
    )


def searched(ids, seconds, scoring=0.02):
    return neighbours.Searched(
        ids=ids, proven=len(ids), seconds=np.array([seconds * 1.2, seconds]), scoring=np.array([scoring, scoring * 1.5]),
        flops=int(5e11), bytes_moved=int(3e9), by="torch", speeds=made_speeds(), truth=Path("t"),
    )  # fmt: skip


def by_name(findings):
    return {finding.name: finding for finding in findings}


def test_neighbours_must_be_the_cpus_and_near_the_peak():
    ids = np.arange(200).reshape(20, 10)
    both = Both(searched(ids, 4.0), searched(ids, 0.1), {"peaks": PEAKS}, H100)
    found = by_name(neighbours.findings(both))
    assert (found["the CPU's ids, in their order"].verdict, found["times as fast as the CPU"].value) == ("held", 40)
    share = found["share of the binding peak (float32)"]
    assert (share.value, share.verdict) == (pytest.approx(0.5), "held")
    assert found["share of the bandwidth"].value == pytest.approx(0.05)
    swapped = ids.copy()
    swapped[3, :2] = swapped[3, 1::-1]
    slow = Both(searched(ids, 4.0), searched(swapped, 0.2, scoring=0.021), {"peaks": PEAKS}, H100)
    found = by_name(neighbours.findings(slow))
    assert found["the CPU's ids, in their order"].note == "1 queries differ"
    assert {found[name].verdict for name in ("the CPU's ids, in their order", "times as fast as the CPU", "share of the binding peak (float32)")} == {"missed"}  # fmt: skip


def test_without_peaks_or_limits_neighbours_are_only_reported():
    found = neighbours.findings(Both(searched(np.ones((5, 3), int), 1.0), None, {}, H100))
    assert {finding.verdict for finding in found} == {None}
    assert not [finding for finding in found if "share" in finding.name]


def heard(errors, alone=0.02, batches=0.004, ran_on="H100"):
    seconds = tuple(60 * alone * factor for factor in (0.99, 1.0, 1.01))
    return speech.Heard(
        ran_on=ran_on, load_seconds=0.5, alone=seconds, alone_audio=60.0, errors=errors, words=(100, 100),
        batches=tuple(240 * batches * factor for factor in (0.99, 1.0, 1.01)), batch_clips=32, batch_audio=240.0,
        batch_errors=7, batch_words=400,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("variant", "alone", "batches", "verdicts"),
    [
        ("openai-whisper", 0.04, 0.009, ["held", "held"]),
        ("openai-whisper", 0.06, 0.012, ["missed", "missed"]),
        ("pywhispercpp", 0.04, 0.03, ["held", None]),
        ("pywhispercpp", 0.06, 0.03, ["missed", None]),
    ],
)
def test_an_engine_is_held_to_the_limits_of_its_kind(variant, alone, batches, verdicts):
    both = Both(heard((3, 4), 0.5, ran_on="cpu"), heard((3, 4), alone, batches), {}, H100)
    found = by_name(speech.findings(variant, both))
    assert [found[name].verdict for name in ("xRT one by one", "xRT in batches of 32")] == verdicts
    assert found["times as fast as the CPU, one by one"].value == pytest.approx(0.5 / alone)
    assert found["word error rate"].value == 0.035 and found["word error rate in batches"].value == 0.0175
    unlimited = speech.findings(variant, Both(heard((3, 4)), None, {}, H100))
    assert {finding.verdict for finding in unlimited} == {None}, "a CPU is held to nothing"


@pytest.mark.parametrize(("errors", "verdict"), [((4, 5), "held"), ((4, 6), "missed"), ((0, 4), "missed")])
def test_an_engine_must_hear_on_the_device_what_it_hears_on_the_cpu(errors, verdict):
    found = by_name(speech.findings("pywhispercpp", Both(heard((3, 4)), heard(errors), {}, None)))
    assert found["word error rate, apart from the CPU's"].verdict == verdict


def test_clips_are_taken_until_their_seconds_are_reached():
    clips = [SimpleNamespace(seconds=seconds) for seconds in (4.0, 3.0, 5.0)]
    assert [speech._first(clips, seconds) for seconds in (1, 4, 4.5, 7, 99)] == [1, 1, 2, 2, 3]


class OneByOne:
    """An engine that takes one clip at a time, and says which context heard it."""

    def __init__(self, name):
        self.name, self.heard = name, []

    def transcribe(self, clip):
        self.heard.append(clip)
        return SimpleNamespace(text=f"text {clip}")


class Together(OneByOne):
    def transcribe_together(self, clips):
        self.heard.append(list(clips))
        return [SimpleNamespace(text=f"text {clip}") for clip in clips]


def test_a_batch_goes_in_one_call_or_to_several_contexts(monkeypatch):
    monkeypatch.setattr(engines, "BatchEngine", Together, raising=False)
    together, others = Together("alone"), []
    hear = speech._batcher(together, lambda: pytest.fail("one is enough"))
    assert hear([3, 1]) == ["text 3", "text 1"] and together.heard == [[3, 1]]
    first = OneByOne("first")
    hear = speech._batcher(first, lambda: others.append(OneByOne("another")) or others[-1])
    assert hear([5, 4, 9, 2, 7]) == [f"text {clip}" for clip in (5, 4, 9, 2, 7)]
    assert len(others) == 4 and sorted(clip for one in others for clip in one.heard) == [2, 4, 5, 7, 9]


def reranked(ids, scores, seconds):
    return rerank.Reranked(np.array(ids), np.array(scores), 256, seconds, bytes_moved=int(3e10), by="torch")


def test_reranking_may_swap_only_what_cannot_be_told_apart():
    gamma = 2 * 256 * 2.0**-24
    cpu = reranked([[1, 2], [3, 4]], [[0.9, 0.8], [0.9, 0.8]], 1.0)
    near = reranked([[1, 2], [3, 9]], [[0.9, 0.8], [0.9, 0.8 - gamma / 2]], 0.1)
    far = reranked([[1, 2], [3, 9]], [[0.9, 0.8], [0.9, 0.8 - 2 * gamma]], 0.1)
    found = [by_name(rerank.findings(Both(cpu, gpu, {"peaks": PEAKS}, None))) for gpu in (near, far)]
    assert [one["the CPU's order, but for scores within γ"].verdict for one in found] == ["held", "missed"]
    assert found[0]["share of the bandwidth"].value == pytest.approx(0.1)
    assert found[0]["times as fast as the CPU"].value == pytest.approx(10)


def answered(recall, per_query, same_index=None):
    return hybrid.Answered(
        {"lists": 8, "refine": 4}, np.full(200, recall), None if same_index is None else np.full(200, same_index), 3.0,
        made_speeds(per_query), "GpuIndexIVFPQ on H100",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("gpu", "missed"),
    [
        (answered(0.96, 1e-6, 0.961), set()),
        (answered(0.96, 6e-6, 0.961), {"times as fast as all cores, batches of 1,000"}),
        (answered(0.94, 1e-6, 0.941), {"recall@100"}),
        (answered(0.96, 1e-6, 0.965), {"recall, apart from the CPU's on this index"}),
    ],
)
def test_the_hybrid_is_compared_at_the_same_recall_and_with_the_same_index(gpu, missed):
    found = hybrid.findings(Both(answered(0.955, 1e-4), gpu, {}, H100))
    assert {finding.name for finding in found if finding.verdict == "missed"} == missed
    fast = by_name(found)["times as fast as all cores, batches of 1,000"]
    assert fast.ci95[0] < fast.value < fast.ci95[1] and fast.limit == "≥ 20"
    assert by_name(found)["times as fast as all cores, batches of 100"].limit is None


def test_batches_are_whole_and_queries_come_again_where_there_are_too_few():
    queries = np.arange(12).reshape(6, 2)
    assert [len(batch) for batch in speeds._batches(queries, 4, 200)] == [4]
    assert [len(batch) for batch in speeds._batches(queries, 1, 3)] == [1, 1, 1]
    (more,) = speeds._batches(queries, 10, 200)
    assert np.array_equal(more[6:], queries[:4])


def test_speeds_are_of_one_query():
    asked = []
    found = speeds.measure(lambda some: asked.append(len(some)), np.zeros((20, 2), np.float32), 0, most=5)
    assert found.alone_ns.shape == (5,)
    assert {size: len(spent) for size, spent in found.seconds.items()} == {1: 1, 10: 1, 100: 1, 1000: 1}
    assert asked.count(1) == 3 + 5 + 1 + 5 and asked.count(10) == 1 + 2 and asked.count(1000) == 2
    rates = by_name(speeds.findings(made_speeds(1e-5)))
    rate = rates["queries per second, batches of 1,000"]
    assert rate.ci95[0] < rate.value < rate.ci95[1] and rate.value == pytest.approx(1e5, rel=0.05)
    assert speeds.speedup(np.array([1.0, 1.1, 1.0]), np.array([5.0, 5.2, 5.1]))[0] == pytest.approx(4.94, rel=0.01)


def test_a_table_is_a_hundred_columns_wide_and_says_everything():
    long = Finding(
        name="ran on", value="NVIDIA H100 80GB HBM3, float16, 77.1 MB of weights, and more of the like to tell"
    )
    outcome = Outcome(
        part="openai-whisper", status="missed", reasons=["on the cpu: " + "it failed " * 12], seconds=12.34, peak_device_bytes=2 * 10**9,
        findings=[long, at_most("xRT in batches of 32", 0.0123, 0.01, ci95=(0.012, 0.0126), note="n " * 60)],
    )  # fmt: skip
    check = whole("missed")
    check.outcomes = [outcome]
    text = "\n".join([table.header(check), table.part(outcome), table.summary(check)])
    assert max(map(len, text.splitlines())) <= 100
    for words in ("openai-whisper: missed (12.3 s, 2.00 GB on the device)", long.value, "0.0123 (0.0120–0.0126)", "≤ 0.01", "missed", "1 missed", "python 3.12", "exit code 1: a limit was missed"):  # fmt: skip
        assert words in text, words
    assert "not measured" not in text
    assert table.summary(whole("held")) == "\n1 held"
    words = " ".join(table.summary(whole("held", fault="this host has no NVIDIA device")).split())
    assert words.startswith("1 held not measured: anything on a GPU") and "no NVIDIA device" in words
    assert words.endswith("exit code 3: not everything could be measured")


@pytest.fixture
def small(check, monkeypatch):
    """The script with parts of the test's own."""

    def with_parts(*parts):
        monkeypatch.setattr(check, "PARTS", parts)

    return with_parts


def test_the_file_is_whole_after_each_part(check, small, tmp_path, monkeypatch, capsys):
    file, kept = tmp_path / "out.json", []
    write = Check.write
    monkeypatch.setattr(Check, "write", lambda self, to: (write(self, to), kept.append(json.loads(to.read_text()))))
    small(part("a"), part("b", gpu_parts.crash), part("c"))
    assert check.main(["--device", "cpu", "--out", str(file)]) == 3
    assert [[one["part"] for one in found["outcomes"]] for found in kept] == [
        ["a"],
        ["a", "b"],
        ["a", "b", "c"],
        ["a", "b", "c"],
    ]
    assert [found["complete"] for found in kept] == [False, False, False, True]
    assert "2 measured, 1 not measured" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("found", "words", "code", "says"),
    [
        (None, [], 3, "this host has no NVIDIA device"),
        (None, ["--device", "gpu"], 2, "there is no NVIDIA device on this host. Next step: leave --device out"),
        (None, ["--device", "cpu"], 0, "1 measured"),
        (CARD, [], 0, "NVIDIA H100 80GB HBM3, 80 GiB, driver 580.65"),
        (DriverError("the driver does not work: lost"), [], 3, "the driver does not work: lost"),
    ],
)
def test_where_there_is_no_device_the_cpu_is_measured_and_it_is_said(
    check, small, monkeypatch, capsys, found, words, code, says
):
    def gpu():
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(check.devices, "gpu", gpu)
    host = HOST.model_copy(update={"gpu": CARD.name, "gpu_facts": CARD}) if found is CARD else HOST
    monkeypatch.setattr(check.host, "describe", lambda: host)
    small(part("a", compared=False))
    assert check.main(words) == code
    printed = capsys.readouterr()
    assert says in " ".join((printed.out + printed.err).split())
    if code != 2:
        assert ("gpu" if found is CARD else "cpu") in printed.out.split("sides")[1]


def test_the_limits_are_asked_for_by_name(check, small, capsys):
    seen = []
    small(part("a", findings=lambda both: seen.append(both.limits) or []))
    check.main(["--device", "cpu", "--limits", "h100"])
    check.main(["--device", "cpu"])
    assert seen == [H100, None]
    assert (H100.torch_batch_xrt, H100.torch_xrt, H100.whispercpp_xrt) == (0.01, 0.05, 0.05)
    assert (H100.neighbours_share, H100.neighbours_speedup, H100.hybrid_speedup) == (0.5, 30, 20)
    assert FULL.rows == 1_000_000
