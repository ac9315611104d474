import re
import warnings
from html import unescape
from html.parser import HTMLParser

import numpy as np
import pytest
from support.specs import add

from nightgate import registry
from nightgate.facts import Noise
from nightgate.publish.report import render_report
from nightgate.record import STORED, Between, Gpu, Host, Look, Metric, Objective, Record, Summary

HOST = Host(fingerprint="9f31c07ab2de", cpu="a cpu", cores=2, memory_bytes=25_000_000_000)
SETTINGS = {"variants": ["hybrid"], "controls": ["hnsw"], "rows": 50_000}


def query(variant, p95=0.0012, verdict="pass", samples=True):
    made = Record(
        benchmark="hybrid_ann", variant=variant, device="cpu", status="measured", settings=SETTINGS, host=HOST,
        samples="hybrid_ann-cpu.npz" if samples else None,
        detail={"knob": 192, "versions": {"faiss-cpu": "1.15.1"}, "noise": {"canary_before": {"seconds": 0.006, "spread": 0.024}}},
    )  # fmt: skip
    add(made, "latency_p95", p95, 3000, (p95 * 0.9, p95 * 1.1))
    add(made, "recall_at_100", 0.951, 200, (0.945, 0.957))
    if variant == "hybrid":
        made.objectives = [
            Objective(metric="latency_p95", op="<", limit=0.02, value=p95, verdict=verdict),
            Objective(metric="recall_at_100", op=">=", limit=0.92, value=0.951, verdict="pass"),
        ]
    return made


def engine():
    made = Record(
        benchmark="transcription", variant="pywhispercpp", device="cpu", status="measured", host=HOST,
        settings={"variants": ["pywhispercpp"]}, samples="transcription-cpu.npz", detail={"audio_seconds": 40.0},
    )  # fmt: skip
    add(made, "xrt", 0.1, 5, (0.09, 0.11))
    made.objectives = [Objective(metric="xrt", op="<=", limit=2.0, value=0.1, verdict="pass")]
    return made


def summary(*records, state="pass"):
    """As it is read, so that what stood in the detail of version 1 stands among the facts."""
    made = Summary(
        run_id="night-1", dag_id="nightly_benchmarks", scale="smoke", state=state, host=HOST,
        started_at="2026-11-22T02:00:00.000Z", finished_at="2026-11-22T02:01:48.000Z", results=list(records),
    )  # fmt: skip
    return Summary.model_validate(made.model_dump(mode="json"), context=STORED)


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(1)
    durations = (rng.lognormal(-7, 0.3, (15, 200)) * 1e9).astype(np.int64)
    arrays = {"hybrid/durations_ns": durations, "hnsw/durations_ns": durations * 2, "hybrid/recall": np.ones(200)}
    np.savez(tmp_path / "hybrid_ann-cpu.npz", **arrays)
    clips = (rng.normal(0.8, 0.02, (5, 5)) * 1e9).astype(np.int64)
    np.savez(
        tmp_path / "transcription-cpu.npz",
        **{"pywhispercpp/durations_ns": clips, "pywhispercpp/xrt_repeats": clips.sum(axis=1) / 6e10},
    )
    return tmp_path


def text_of(html):
    return " ".join(unescape(re.sub(r"<style>.*?</style>|<[^>]+>", " ", html, flags=re.DOTALL)).split())


def test_a_good_night_reads_well(folder):
    text = text_of(render_report(summary(query("hybrid"), query("hnsw"), engine()), folder))
    assert "All 3 objectives hold" in text
    assert "Hybrid ANN hybrid cpu P95 latency 1.20 ms 1.08 – 1.32 ms < 20 ms 94 % pass" in text
    assert "Hybrid ANN hybrid cpu Recall@100 0.951 0.945 – 0.957 ≥ 0.92 39 % pass" in text
    assert "The tightest is Recall@100 of Hybrid ANN" in text
    assert "nightgate measure hybrid_ann --scale smoke --device cpu" in text
    assert "9f31c07ab2de" in text
    assert "2.4 % widest noise canary spread" in text
    assert "faiss-cpu 1.15.1" in text


def test_a_breach_stands_first(folder):
    text = text_of(render_report(summary(engine(), query("hybrid", 0.0222, "breach"), state="breach"), folder))
    assert "1 objective is breached Hybrid ANN, hybrid on cpu: P95 latency is 22.2 ms" in text
    assert text.index("P95 latency 22.2 ms") < text.index("xRT 0.100")


def test_a_limit_missed_by_far_is_drawn_too(folder):
    record = query("hybrid", verdict="breach")
    record.objectives[0].limit = 1e-6
    html = render_report(summary(record, state="breach"), folder)
    assert "limit × 1,200" in text_of(html)


def test_what_was_not_measured_is_listed_with_its_reason(folder):
    skipped = [
        Record(benchmark="transcription", variant=name, device="gpu", status="skipped", reason="no NVIDIA device")
        for name in ("a", "b")
    ]
    lost = Record(
        benchmark="hybrid_ann", variant="hybrid", device="cpu", status="failed", reason="ended by SIGKILL",
        objectives=[Objective(metric="latency_p95", op="<", limit=0.02, value=None, verdict="invalid", reason="ended by SIGKILL")],
    )  # fmt: skip
    text = text_of(render_report(summary(lost, *skipped, state="invalid"), folder))
    assert "Not everything could be measured" in text
    assert "Transcription gpu a, b no NVIDIA device skipped" in text
    assert "Hybrid ANN cpu hybrid ended by SIGKILL failed" in text
    assert "0 of 3 variants measured" in text


def test_what_was_skipped_stands_under_the_headline_and_what_was_overridden_with_the_host(folder):
    skipped = Record(
        benchmark="transcription", variant="a", device="gpu", status="skipped", reason="no device. Next step: x"
    )
    night = summary(engine(), skipped)
    night.scheduled, night.overrides = (
        False,
        {"hybrid_ann.rows": 50000, "objectives.hybrid_ann.latency_p95.cpu": "< 0.5"},
    )
    text = text_of(render_report(night, folder))
    assert text.index(
        "Skipped: transcription on gpu: no device nightly_benchmarks, suite nightly at smoke scale"
    ) < text.index("Objectives")
    assert (
        "counts as ad-hoc overridden hybrid_ann.rows: 50,000 overridden objectives.hybrid_ann.latency_p95.cpu: < 0.5"
        in text
    )
    night.overrides = {}
    text = text_of(render_report(night, folder))
    assert "counts as stand-in" in text and "overridden" not in text


def test_a_run_without_any_result_has_a_report(tmp_path):
    assert "Nothing was judged" in text_of(render_report(summary(state="invalid"), tmp_path))


class _Links(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found, self.tags, self.open = [], set(), []

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.found += [value for name, value in attributes if name in ("src", "href", "xlink:href", "action", "srcset")]


def test_the_page_needs_nothing_else(folder):
    html = render_report(summary(query("hybrid"), query("hnsw"), engine()), folder)
    page = _Links()
    page.feed(html)
    assert all(link.startswith("#") for link in page.found), page.found
    assert not page.tags & {"script", "link", "img", "iframe", "object", "embed"}
    assert set(re.findall(r"https?://[^\"' )]+", html)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    assert not re.search(r"@import|url\((?!#)", html)
    assert html.count("<svg ") == 4  # the mark, the objectives, and one per benchmark


def test_charts_take_the_colours_and_the_font_of_the_page(folder):
    html = render_report(summary(query("hybrid"), query("hnsw"), engine()), folder)
    charts = "".join(re.findall(r"<svg role.*?</svg>", html, flags=re.DOTALL))
    assert "var(--ink)" in charts
    assert "var(--c1)" in charts
    assert "DejaVu" not in charts
    assert set(re.findall(r"#[0-9a-f]{6}\b", charts)) == set()
    defined = set(re.findall(r"--([a-z0-9]+):", html))
    assert set(re.findall(r"var\(--([a-z0-9]+)\)", html)) <= defined


def test_charts_draw_without_a_warning_and_the_same_each_time(folder):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first = render_report(summary(query("hybrid"), engine()), folder)
    assert render_report(summary(query("hybrid"), engine()), folder) == first


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 torn"])
def test_lost_samples_cost_only_their_chart(tmp_path, content):
    if content is not None:
        (tmp_path / "hybrid_ann-cpu.npz").write_bytes(content)
    html = render_report(summary(query("hybrid")), tmp_path)
    assert html.count("<svg ") == 2
    assert "1.20 ms" in html


def test_samples_are_read_from_the_run_folder_only(folder):
    record = query("hybrid").model_copy(update={"samples": "../hybrid_ann-cpu.npz"})
    (folder / "inner").mkdir()
    assert render_report(summary(record), folder / "inner").count("<svg ") == 2


def test_what_a_library_said_is_text(folder):
    record = query("hybrid").model_copy(update={"detail": {"plan": "<script>alert(1)</script>"}})
    html = render_report(summary(record), folder)
    assert "<script>" not in html
    assert "&lt;script&gt;" in html


TRADEOFF = '<svg role="img" aria-label="P95 latency over recall'


def tuned(variant, reached=True, **more):
    """A record of a strategy with its curve, its stages and the two modes under load."""
    record = query(variant)
    settings = [{"lists": 16, "refine": 5}, {"lists": 64, "refine": 5}]
    recalls = (0.9, 0.951 if reached else 0.913)
    curve = [
        {"setting": setting, "recall": recall, "latency_p50": seconds * 0.7, "latency_p95": seconds}
        for setting, recall, seconds in zip(settings, recalls, (0.0006, 0.0012), strict=True)
    ]
    record.detail |= {
        "curve": curve, "setting": settings[1], "tuning_reached_target": reached, "recall_target": 0.92,
        "open_loop": {"rate": 200.0, "seconds": 10, "utilisation": 0.25}, "throughput": {"threads": 2, "batch": 256},
        "data": {"rows": 50_000, "dim": 256, "metric": "cosine", "local_dimension": 5.378, "relative_contrast": {"1": 3.2, "10": 2.5}},
    } | more  # fmt: skip
    add(record, "scan_seconds", 0.0004, 200)
    add(record, "scan_recall", 0.98, 200)
    add(record, "open_loop_p95", 0.003, 2000)
    add(record, "throughput_qps", 2442.0, 20)
    add(record, "build_peak_rss_bytes", 2.4e9)
    return record


def test_what_recall_costs_is_drawn_and_explained(folder):
    html = render_report(summary(tuned("hybrid"), tuned("hnsw", reached=False)), folder)
    assert html.count(TRADEOFF) == 1
    text = text_of(html)
    assert "recall target 0.92" in text
    assert "No setting reaches 0.92 with its margin for hnsw (at best 0.913)." in text
    assert "hybrid (at best" not in text


def test_a_variant_without_a_curve_takes_no_other_ones_colour(folder):
    html = render_report(summary(query("a_control"), tuned("b_control"), tuned("hybrid")), folder)
    chart = html[html.index(TRADEOFF) :].split("</svg>")[0]
    assert "var(--c3)" in chart
    assert "var(--c2)" not in chart, "the colour of a_control"


@pytest.mark.parametrize(
    "curve", [None, [], [{"setting": 8, "recall": 0.9}], [{"setting": 8, "recall": 0.9, "latency_p95": None}]]
)
def test_a_tuning_without_latencies_is_listed_and_not_drawn(folder, curve):
    record = query("ivfflat").model_copy(
        update={"detail": {"curve": curve, "tuning": [{"setting": 8, "recall": 0.987}]}}
    )
    html = render_report(summary(record), folder)
    assert TRADEOFF not in html
    assert "setting recall 8 0.987" in text_of(html)


def test_a_card_says_what_was_searched_and_with_which_setting(folder):
    text = text_of(render_report(summary(tuned("hybrid")), folder))
    assert "50,000 × 256 vectors · cosine · local dimension 5.4 · relative contrast 3.20, 2.50 at k = 1, 10" in text
    assert "hybrid gated lists 64, refine 5" in text
    assert "setting recall latency p50 latency p95 lists 16, refine 5 0.9 0.00042 0.0006" in text


def test_data_whose_rows_repeat_have_an_infinite_dimension(folder):
    facts = {"local_dimension": None, "relative_contrast": {"1": None, "10": 2.5}}
    text = text_of(render_report(summary(tuned("hybrid", data=facts)), folder))
    assert "on cpu local dimension ∞ · relative contrast ∞, 2.50 at k = 1, 10" in text


def test_a_card_names_the_users_own_file_and_what_was_taken_out_of_it(folder):
    facts = {"file": "<b>mine.npy", "rows": 3640, "dim": 32, "metric": "l2", "queries_in_base": 0}
    held = {"queries": 80, "tuning": 80, "warmup": 200}
    text = text_of(render_report(summary(tuned("hybrid", data=facts | {"held_out": held})), folder))
    assert "mine.npy · 3,640 × 32 vectors · l2 · 360 more held out as queries" in text
    facts |= {"queries_file": "asked.fvecs", "queries_in_base": 7, "held_out": dict.fromkeys(held, 0)}
    html = render_report(summary(tuned("hybrid", data=facts)), folder)
    assert "&lt;b&gt;mine.npy with the queries of asked.fvecs · 3,640" in html
    assert "l2 · 7 of the measured queries also stand in the base" in text_of(html)
    assert "held out as queries" not in text_of(html)


def test_the_figures_stand_in_sections_with_their_conditions(folder):
    other = tuned("hnsw", open_loop={"rate": 200.0, "utilisation": 0.4})
    del other.metrics["scan_seconds"], other.metrics["scan_recall"]
    text = text_of(render_report(summary(tuned("hybrid"), other), folder))
    sections = [
        "Recall Recall@100 0.951 0.951",
        "One query at a time P95 latency 1.20 ms 1.20 ms",
        "Stage by stage: mean time · share of the true neighbours still there Scan 400 µs · 0.980 –",
        "Open loop: 200 /s, latency since the scheduled moment P95, open loop 3.00 ms 3.00 ms Utilisation 25 % 40 %",
        "Batches of 256 on 2 threads Throughput 2,442 /s 2,442 /s",
        "Cost Peak memory of the build 2.40 GB 2.40 GB",
    ]
    assert " ".join(sections) in text
    assert "Speech" not in text


def on(device, variant, host=HOST, **metrics):
    made = Record(
        benchmark="hybrid_ann", variant=variant, device=device, status="measured", settings=SETTINGS, host=host
    )
    for name, (value, ci95) in metrics.items():
        add(made, name, value, 100, ci95)
    return made


def test_a_gpu_beside_the_cpu_shows_how_many_times_as_fast_it_is(folder):
    cpu = on(
        "cpu",
        "hybrid",
        latency_p95=(0.006, (0.005, 0.007)),
        throughput_qps=(2000.0, (1900.0, 2100.0)),
        recall_at_100=(0.95, None),
    )
    gpu = on(
        "gpu",
        "hybrid",
        latency_p95=(0.0015, (0.0014, 0.0016)),
        throughput_qps=(90_000.0, None),
        recall_at_100=(0.95, None),
    )
    alone = on("gpu", "ivfpq_refine", latency_p95=(0.001, None))
    text = text_of(render_report(summary(cpu, gpu, alone), folder))
    heading, p95, throughput = "Times as fast as on the cpu", "P95 latency 4.0 × (3.3–4.7) –", "Throughput 45.0 × –"
    assert f"{heading} {p95} {throughput}" in text
    assert text.count(heading) == 1, "on the card of the GPU"
    assert heading not in text_of(render_report(summary(cpu, alone), folder)), "of another variant"


def test_a_gpu_beside_the_cpu_of_another_host_says_so(folder):
    elsewhere = HOST.model_copy(update={"fingerprint": "other"})
    cpu, gpu = (
        on(device, "hybrid", host, latency_p50=(value, None))
        for device, host, value in (("cpu", HOST, 0.3), ("gpu", elsewhere, 0.1))
    )
    text = text_of(render_report(summary(cpu, gpu), folder))
    assert "Times as fast as on the cpu of another host P50 latency 3.00 ×" in text


def test_the_report_says_what_is_known_of_the_gpu(folder):
    facts = Gpu(
        name="NVIDIA H100", memory_bytes=80 * 2**30, driver="580.65", cuda="13.0", max_sm_clock_mhz=1980, source="nvml"
    )
    night = summary(engine())
    night.host = HOST.model_copy(update={"gpu": facts.name, "gpu_facts": facts})
    assert "GPU NVIDIA H100, 80 GiB, driver 580.65, CUDA 13.0, 1980 MHz" in text_of(render_report(night, folder))


def test_each_number_of_clients_has_a_row(folder):
    one, other = tuned("hybrid", throughput={"clients": 8}), tuned("hnsw", throughput={})
    one.detail["clients"] = [
        {"clients": n, "queries_per_second": rate, "ci95": None, "latency_p50": 0.01, "latency_p95": p95}
        for n, rate, p95 in ((1, 52.0, 0.0266), (8, 101.0, 0.109))
    ]
    text = text_of(render_report(summary(one, other), folder))
    assert (
        "Several clients at once, each asks again when it is answered: answers per second · P95 latency "
        "1 client 52.0 /s · 26.6 ms – 8 clients 101 /s · 109 ms –"
    ) in text


def test_every_metric_has_a_title_and_one_place_in_the_report():
    for name, known in registry.installed().items():
        names = [spec.name for spec in known.all_metrics]
        assert len(names) == len(set(names)), name
        titles = [spec.title for spec in known.all_metrics]
        assert len(titles) == len(set(titles)) and all(titles), name
        beside = {spec.beside for spec in known.all_metrics if spec.beside}
        assert {spec.name for spec in known.all_metrics if not spec.section} <= beside <= set(names), name
        assert set(known.headlines) <= set(names), name


BUSY = "another program kept 0.9 of 2 cores busy"


def looked(p95, disturbed=None):
    metrics = {"latency_p95": Metric(value=p95, unit="seconds", n=3000, ci95=(p95 * 0.9, p95 * 1.1))}
    return Look(started_at="2026-11-22T02:10:00.000Z", metrics=metrics, disturbed=disturbed)


def test_an_undecided_night_is_neither_a_pass_nor_a_breach(folder):
    record = query("hybrid", 0.0199, "inconclusive")
    judged = record.objectives[0]
    judged.ci95, judged.nights, judged.reason = (0.0191, 0.0207), 3, "the limit lies inside the interval"
    html = render_report(summary(record, engine(), state="inconclusive"), folder)
    text = text_of(html)
    assert "1 objective is undecided, the other 2 hold" in text
    assert "P95 latency is 19.9 ms (95 % interval 19.1 – 20.7 ms), the limit < 20 ms. Undecided for 3 nights." in text
    assert (
        "19.9 ms 19.1 – 20.7 ms < 20 ms 1 % undecided the limit lies inside the interval undecided for 3 nights Hybrid ANN"
        in text
    )
    assert text.count("It is no pass and no breach.") == 1
    assert "2 of 3 objectives hold, 1 undecided" in text
    assert '<header class="hero inconclusive">' in html
    assert "inconclusive" not in text
    assert "no pass" not in text_of(render_report(summary(engine()), folder))


def test_the_runs_that_confirmed_a_verdict_are_listed(folder):
    record = query("hybrid", 0.0222, "breach")
    record.looks = [looked(0.0231), looked(0.0411, BUSY)]
    text = text_of(render_report(summary(record, query("hnsw"), state="breach"), folder))
    assert (
        "breach breach, confirmed by 2 more runs; the runs of this night: 22.2 ms · 23.1 ms · 41.1 ms† Hybrid" in text
    )
    listed = text[text.index("Run again the same night, to confirm") :]
    assert listed.startswith(
        "Run again the same night, to confirm Variant Run P95 latency Disturbed by hybrid first 22.2 ms (20.0–24.4) – "
        f"hybrid 1 more 23.1 ms (20.8–25.4) – hybrid 2 more 41.1 ms (37.0–45.2)† {BUSY}"
    )
    assert "Run again" not in text_of(render_report(summary(query("hybrid")), folder))


def test_a_disturbed_night_says_why_and_shows_its_speeds_hollow(folder):
    record = query("hybrid")
    record.objectives[0] = Objective(
        metric="latency_p95", op="<", limit=0.02, value=None, verdict="invalid", reason="disturbed"
    )
    night = summary(record, engine(), state="invalid")
    night.results[0].facts.noise = Noise(disturbed=BUSY, others=0.87, cores=2)
    html = render_report(night, folder)
    text = text_of(html)
    assert text.count(f"Disturbed: Hybrid ANN on cpu: {BUSY}.") == 2, "under the headline and on the card"
    assert (
        "The host was disturbed: 1 objective is not judged Hybrid ANN, hybrid on cpu: P95 latency is not judged."
        in text
    )
    assert html.count('<span class="hollow">1.20 ms†</span>') == 2, "among the objectives and the figures"
    assert "0.9 of 2 cores busy with other programs, at most" in text
    assert "0.951†" not in text and "0.100†" not in text
    assert "Hybrid ANN hybrid cpu Recall@100 0.951 0.945 – 0.957 ≥ 0.92 39 % pass" in text
    chart = html[html.index('aria-label="Each objective') :].split("</svg>")[0]
    assert chart.count("fill: var(--card)") == 1, "its mark is hollow"


def test_what_an_interval_holds_is_told_metric_by_metric(folder):
    record = query("hybrid")
    p95 = record.metrics["latency_p95"]
    p95.within95, p95.between = (0.00114, 0.00126), Between(sd=0.024, runs=17, prior=False)
    text = text_of(render_report(summary(record), folder))
    assert "P95 latency hybrid 1.20 ms 1.08 – 1.32 ms ±10 % ±5.0 % 2.4 % 17 runs" in text
    assert "Recall@100 hybrid 0.951 0.945 – 0.957 ±0.006 ±0.006 – this run alone" in text
    assert "The intervals hold what differs between runs too: learned from 17 runs." in text
    assert "what they hold" not in text_of(render_report(summary(query("hybrid")), folder))


def test_a_run_on_a_quiet_host_after_a_disturbed_one_is_judged_like_any_other(folder):
    record = query("hybrid")
    record.looks = [looked(0.0013)]
    record.objectives[0] = Objective(
        metric="latency_p95", op="<", limit=0.02, value=0.0013, ci95=(0.0012, 0.0014), verdict="pass"
    )
    record.facts.noise = Noise(disturbed=BUSY)
    html = render_report(summary(record), folder)
    assert "P95 latency 1.30 ms 1.20 – 1.40 ms < 20 ms 94 % pass" in text_of(html)
    assert "the runs of this night: 1.20 ms† · 1.30 ms" in text_of(html)
    chart = html[html.index('aria-label="Each objective') :].split("</svg>")[0]
    assert "fill: var(--card)" not in chart


def test_what_the_verdict_itself_says_is_not_said_twice(folder):
    record = query("hybrid", 0.0199, "inconclusive")
    record.objectives[0].nights, record.objectives[0].reason = 3, "the limit lies inside; undecided for 3 nights"
    text = text_of(render_report(summary(record, state="inconclusive"), folder))
    assert text.count("undecided for 3 nights") == 1


def test_a_card_says_with_whom_a_variant_took_turns_what_ended_it_and_how_the_host_was(folder):
    first, second = query("hybrid"), query("hnsw")
    for record, stopped, half in ((first, "precision", 0.0181), (second, "budget", 0.034)):
        record.facts.stopped, record.facts.half_width = stopped, half
        record.facts.turns = "every 100 queries, with the other"
        record.facts.noise = Noise(others=0.04, cores=2, at_full_speed=0.62, slowdown=1.58)
    text = text_of(render_report(summary(first, second), folder))
    assert (
        "In turns: hybrid every 100 queries, with the other; hnsw every 100 queries, with the other. "
        "Repeated: hybrid until it was known to ±1.8 %; "
        "hnsw until its budget was spent, at ±3.4 %. The host meanwhile: other programs took 0.0 of 2 cores · "
        "at full speed 62 % of the time, else 1.6 × slower."
    ) in text
    second.facts.half_width = None
    text = text_of(render_report(summary(second), folder))
    assert "hnsw until its budget was spent, at no known precision." in text
    assert "Repeated" not in text_of(render_report(summary(query("hybrid")), folder))
