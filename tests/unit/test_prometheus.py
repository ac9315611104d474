import re
from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.specs import add

from nightgate import __version__, registry
from nightgate.artifacts import Cache, Settings
from nightgate.artifacts.counted import counted
from nightgate.facts import Noise
from nightgate.publish.prometheus import render, samples
from nightgate.record import Host, Objective, Record
from nightgate.results.store import Origin, Run, Snapshot


def engine(variant, xrt=None, device="cpu", gated=("a", "b"), at="2026-11-22T02:00:00.000Z"):
    made = Record(
        benchmark="transcription", variant=variant, device=device, status="measured", settings={"variants": list(gated)},
        finished_at=at,
    )  # fmt: skip
    if xrt is not None:
        add(made, "xrt", xrt, 5)
    return made


def lines(snapshot):
    return [line for line in render(snapshot)[0].decode().splitlines() if not line.startswith("#")]


def test_whisper_xrt_is_exactly_so():
    page = lines(Snapshot(measured=[("night-1", engine("a", 0.12)), ("night-1", engine("b", 0.25, device="gpu"))]))
    assert 'whisper_xrt{device="cpu"} 0.12' in page
    assert 'whisper_xrt{device="gpu"} 0.25' in page


def test_whisper_xrt_is_the_slowest_gated_engine():
    measured = [("night-1", engine("a", 0.12)), ("night-1", engine("b", 0.25)), ("night-1", engine("control", 0.9))]
    assert 'whisper_xrt{device="cpu"} 0.25' in lines(Snapshot(measured=measured))


def test_whisper_xrt_takes_the_newest_run_only():
    old = engine("b", 0.9, at="2026-11-21T02:00:00.000Z")
    page = lines(Snapshot(measured=[("night-1", old), ("night-2", engine("a", 0.12))]))
    assert 'whisper_xrt{device="cpu"} 0.12' in page
    turned = lines(Snapshot(measured=[("night-2", engine("a", 0.12)), ("night-1", old)]))
    assert 'whisper_xrt{device="cpu"} 0.12' in turned, "in whatever order they come"
    assert any(line.startswith("nightgate_xrt_ratio{") and line.endswith(" 0.9") for line in page)


def test_whisper_xrt_of_one_device_stays_when_the_other_has_a_newer_run():
    gpu = engine("a", 0.9, device="gpu", at="2026-11-21T02:00:00.000Z")
    cpu = engine("a", 0.12, at="2026-11-22T02:00:00.000Z")
    for measured in ([("night-1", gpu), ("night-2", cpu)], [("night-2", cpu), ("night-1", gpu)]):
        page = lines(Snapshot(measured=measured))
        assert 'whisper_xrt{device="cpu"} 0.12' in page
        assert 'whisper_xrt{device="gpu"} 0.9' in page


def test_whisper_xrt_is_of_all_engines_of_the_newest_run_and_of_transcription_only():
    early, late = engine("b", 0.25, at="2026-11-22T02:00:00.000Z"), engine("a", 0.12, at="2026-11-22T02:05:00.000Z")
    other = engine("a", 0.9, at="2026-11-23T02:00:00.000Z").model_copy(update={"benchmark": "hybrid_ann"})
    old = engine("c", 0.7, gated=("c",), at="2026-11-21T02:00:00.000Z")
    page = lines(Snapshot(measured=[("night-9", old), ("night-2", early), ("night-2", late), ("night-3", other)]))
    assert [line for line in page if line.startswith("whisper_xrt")] == ['whisper_xrt{device="cpu"} 0.25']


def test_whisper_xrt_knows_the_newest_run_where_times_are_missing_or_the_same():
    """A record without a time is old; of two runs that ended together the later id counts."""
    undated, dated = ("night-3", engine("a", 0.5, at=None)), ("night-1", engine("a", 0.12))
    same = ("night-2", engine("a", 0.25))
    for measured in ([undated, dated], [dated, undated]):
        assert 'whisper_xrt{device="cpu"} 0.12' in lines(Snapshot(measured=measured))
    for measured in ([undated, same, dated], [dated, same, undated]):
        assert 'whisper_xrt{device="cpu"} 0.25' in lines(Snapshot(measured=measured))
    assert 'whisper_xrt{device="cpu"} 0.5' in lines(Snapshot(measured=[undated]))


def test_the_page_names_its_version_and_explains_its_gauges():
    page = render(Snapshot(measured=[("n", engine("a", 0.12)), ("n", query())]))[0].decode()
    assert f'nightgate_build_info{{version="{__version__}"}} 1.0\n' in page
    help_ = dict(line.removeprefix("# HELP ").split(" ", 1) for line in page.splitlines() if line.startswith("# HELP"))
    assert help_ == {
        "nightgate_build_info": "The version that computed this page.",
        "whisper_xrt": "Processing time per audio time of the slowest gated engine in the newest run.",
        "nightgate_xrt_ratio": "Processing time per audio time.",
        "nightgate_latency_seconds": "Time of one query at a quantile.",
        "nightgate_latency_lower_bound_seconds": "An end of the 95 % interval of the newest measurement.",
        "nightgate_latency_upper_bound_seconds": "An end of the 95 % interval of the newest measurement.",
        "nightgate_index_bytes": "Of the newest measurement.",
    }
    assert all(" gauge" in line for line in page.splitlines() if line.startswith("# TYPE"))


def query():
    made = Record(benchmark="hybrid_ann", variant="hybrid", device="cpu", status="measured")
    add(made, "latency_p95", 0.002, 1000, (0.001, 0.003))
    add(made, "index_bytes", 5000)
    return made


@pytest.mark.parametrize(
    ("metric", "name"),
    [
        ("recall_at_100", 'nightgate_recall_ratio{at="100",'), ("recall_at_5", 'nightgate_recall_ratio{at="5",'),
        ("recall_p5", "nightgate_recall_worst_ratio{"), ("latency_p50", "nightgate_latency_seconds{"),
        ("latency_p95", "nightgate_latency_seconds{"), ("latency_p99", "nightgate_latency_seconds{"),
        ("qps", "nightgate_queries_per_second{"), ("throughput_qps", "nightgate_throughput_qps_per_second{"),
        ("prepare_seconds", "nightgate_stage_duration_seconds{"), ("measure_seconds", "nightgate_stage_duration_seconds{"),
        ("wer", "nightgate_wer_ratio{"), ("build_seconds", "nightgate_build_seconds{"), ("index_bytes", "nightgate_index_bytes{"),
        ("rows_per_second", "nightgate_rows_per_second{"), ("open_loop_p95", "nightgate_open_loop_p95_seconds{"),
    ],
)  # fmt: skip
def test_what_a_metric_is_called(metric, name):
    record = Record(benchmark="hybrid_ann", variant="hybrid", device="gpu", status="measured")
    add(record, metric, 0.5)
    (line,) = [
        line for line in lines(Snapshot(measured=[("n", record)])) if not line.startswith("nightgate_build_info")
    ]
    labels = {"suite": "nightly", "benchmark": "hybrid_ann", "variant": "hybrid", "device": "gpu", "host": ""}
    extra = {
        "recall_at_100": {"at": "100"}, "recall_at_5": {"at": "5"}, "latency_p50": {"percentile": "50"}, "latency_p95": {"percentile": "95"},
        "latency_p99": {"percentile": "99"}, "prepare_seconds": {"stage": "prepare"}, "measure_seconds": {"stage": "measure"},
    }  # fmt: skip
    assert line.startswith(name) and line.endswith("} 0.5")
    assert dict(re.findall(r'(\w+)="([^"]*)"', line)) == labels | {"scale": ""} | extra.get(metric, {})
    (gauge,) = samples(record)
    assert (gauge.labels, gauge.value) == (labels | extra.get(metric, {}), 0.5)


@pytest.mark.parametrize("benchmark", registry.installed())
def test_every_metric_has_a_name_in_base_units(benchmark):
    specs = registry.named(benchmark).all_metrics
    record = Record(benchmark=benchmark, variant="hybrid", device="cpu", status="measured")
    for number, spec in enumerate(specs, start=1):
        record.add(spec, number)
    families = {
        family.name for family in text_string_to_metric_families(render(Snapshot(measured=[("n", record)]))[0].decode())
    } - {"whisper_xrt"}
    suffixes = ("_seconds", "_bytes", "_ratio", "_per_second", "_info")
    assert all(name.startswith("nightgate_") and name.endswith(suffixes) for name in families)
    page = [line for line in lines(Snapshot(measured=[("n", record)])) if not line.startswith("whisper_xrt")]
    assert len(page) == len(specs) + 1  # each value once, and the build info
    places = {spec.name: float(number) for number, spec in enumerate(specs, start=1)}
    labels = {"benchmark": benchmark, "device": "cpu", "host": "", "scale": "", "suite": "nightly", "variant": "hybrid"}
    for metric, name, extra in (
        ("latency_p95", "nightgate_latency_seconds", {"percentile": "95"}), ("wer", "nightgate_wer_ratio", {}),
        ("prepare_seconds", "nightgate_stage_duration_seconds", {"stage": "prepare"}),
    ):  # fmt: skip
        if metric in places:
            of = ",".join(f'{key}="{value}"' for key, value in sorted((labels | extra).items()))
            assert f"{name}{{{of}}} {places[metric]}" in page


def test_recall_is_told_by_its_depth():
    record = Record(benchmark="pgvector_search", variant="ivfflat", device="cpu", status="measured")
    add(record, "recall_at_5", 0.93)
    labels = 'benchmark="pgvector_search",device="cpu",host="",scale="",suite="nightly",variant="ivfflat"'
    assert f'nightgate_recall_ratio{{at="5",{labels}}} 0.93' in lines(Snapshot(measured=[("n", record)]))


def test_objectives_and_a_one_hot_verdict():
    record = engine("a").model_copy(
        update={"objectives": [Objective(metric="xrt", op="<=", limit=2.0, value=None, verdict="invalid")]}
    )
    page = lines(Snapshot(judged=[("n", record)]))
    labels = 'benchmark="transcription",device="cpu",host="",metric="xrt",scale="",suite="nightly",variant="a"'
    assert f"nightgate_objective_limit{{{labels}}} 2.0" in page
    assert not any(line.startswith("nightgate_objective_value") for line in page)
    verdicts = {
        line.split('verdict="')[1].split('"')[0]: line[-3:]
        for line in page
        if line.startswith("nightgate_objective_verdict")
    }
    assert verdicts == {"pass": "0.0", "breach": "0.0", "inconclusive": "0.0", "invalid": "1.0"}


def test_what_an_objective_demands_and_met():
    objective = Objective(metric="xrt", op="<=", limit=2.0, value=0.25, verdict="breach")
    record = engine("a", device="gpu").model_copy(update={"objectives": [objective]})
    page = lines(Snapshot(judged=[("n", record)]))
    labels = 'benchmark="transcription",device="gpu",host="",metric="xrt",scale="",suite="nightly",variant="a"'
    assert f"nightgate_objective_limit{{{labels}}} 2.0" in page
    assert f"nightgate_objective_value{{{labels}}} 0.25" in page
    assert (
        'nightgate_objective_verdict{benchmark="transcription",device="gpu",host="",metric="xrt",scale="",suite="nightly",variant="a",verdict="breach"} 1.0'
        in page
    )
    assert len([line for line in page if line.endswith(" 1.0") and "objective_verdict" in line]) == 1


def test_bounds_stand_beside_what_has_an_interval():
    record = Record(benchmark="hybrid_ann", variant="hybrid", device="cpu", status="measured")
    add(record, "latency_p95", 0.002, 1000, (0.001, 0.003))
    add(record, "recall_at_100", 0.95, 200, (0.94, 0.96))
    add(record, "qps", 500, 1000, (450, 550))
    add(record, "build_seconds", 20)
    page = lines(Snapshot(measured=[("n", record)]))
    labels = 'benchmark="hybrid_ann",device="cpu",host=""'
    assert (
        f'nightgate_latency_lower_bound_seconds{{{labels},percentile="95",scale="",suite="nightly",variant="hybrid"}} 0.001'
        in page
    )
    assert (
        f'nightgate_latency_upper_bound_seconds{{{labels},percentile="95",scale="",suite="nightly",variant="hybrid"}} 0.003'
        in page
    )
    assert (
        f'nightgate_recall_lower_bound_ratio{{at="100",{labels},scale="",suite="nightly",variant="hybrid"}} 0.94'
        in page
    )
    assert (
        f'nightgate_queries_upper_bound_per_second{{{labels},scale="",suite="nightly",variant="hybrid"}} 550.0' in page
    )
    assert not any("build" in line and "bound" in line for line in page)


def test_pools_are_shown_by_state():
    page, _ = render(Snapshot(), {"gpu": {"open": 0, "running": 1, "queued": 2, "scheduled": 3, "total": 1}})
    shown = [line for line in page.decode().splitlines() if line.startswith("nightgate_pool_slots{")]
    assert shown == [
        f'nightgate_pool_slots{{pool="gpu",state="{state}"}} {value}'
        for state, value in (("open", 0.0), ("running", 1.0), ("queued", 2.0), ("scheduled", 3.0), ("deferred", 0.0))
    ]


def test_who_takes_openmetrics_gets_it():
    page, content_type = render(Snapshot(), accept="application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text") and page.endswith(b"# EOF\n")
    page, content_type = render(Snapshot(), accept="text/html")
    assert content_type.startswith("text/plain") and not page.endswith(b"# EOF\n")
    assert render(Snapshot())[1].startswith("text/plain")


def test_a_run_has_a_duration():
    last = Run("night-2", "d", "smoke", "breach", "2026-11-22T02:00:00Z", "2026-11-22T02:01:40Z")
    assert 'nightgate_run_duration_seconds{dag_id="d",suite="nightly"} 100.0' in lines(Snapshot(last=[last]))


def test_a_night_that_has_not_ended_has_neither_end_nor_duration():
    page = lines(Snapshot(last=[Run("night-2", "d", "full", "pass", "2026-11-22T02:00:00Z", None)]))
    assert [line.split("{")[0] for line in page] == ["nightgate_build_info", "nightgate_run_info"]
    page = lines(Snapshot(last=[Run("night-2", "d", "full", "pass", None, "2026-11-22T02:01:40Z")]))
    assert [line.split("{")[0].split(" ")[0] for line in page] == [
        "nightgate_build_info", "nightgate_run_info", "nightgate_last_completion_timestamp_seconds",
    ]  # fmt: skip


def test_the_cache_of_every_host_is_on_the_page(tmp_path):
    one, two = Cache(tmp_path / "one"), Cache(tmp_path / "two", Settings(limit=10**9))
    one.get("kind", {}, lambda folder: (folder / "a").write_bytes(b"x" * 70) and None).release()
    two.events.request("hit", saved=2.5, waited=0.2)
    page = render(Snapshot(), None, [counted(one, "east"), counted(two, "west")])[0].decode()
    for line in (
        'nightgate_cache_entries{host="east"} 1.0', 'nightgate_cache_entries{host="west"} 0.0',
        'nightgate_cache_limit_bytes{host="west"} 1e+09', 'nightgate_cache_requests_total{host="east",result="miss"} 1.0',
        'nightgate_cache_requests_total{host="west",result="hit"} 1.0', 'nightgate_cache_saved_seconds_total{host="west"} 2.5',
        'nightgate_cache_wait_seconds_bucket{for="flight",host="west",le="0.5"} 1.0',
    ):  # fmt: skip
        assert line in page, line
    assert 'nightgate_cache_limit_bytes{host="east"}' not in page
    assert "nightgate_cache" not in render(Snapshot())[0].decode()


def test_a_pool_that_lacks_a_state_has_none_in_it():
    page = render(Snapshot(), {"cpu": {"open": 2}})[0].decode()
    assert 'nightgate_pool_slots{pool="cpu",state="open"} 2.0' in page
    assert page.count("} 0.0") == 4


def test_completion_and_success_are_told_apart():
    last = Run("night-2", "d", "smoke", "breach", "2026-11-22T02:00:00Z", "2026-11-22T02:01:40Z")
    page = lines(Snapshot(last=[last], succeeded_at={("nightly", "d"): "2026-11-21T02:01:40Z"}))
    values = {line.split()[0]: float(line.split()[1]) for line in page}
    assert values['nightgate_last_completion_timestamp_seconds{dag_id="d",suite="nightly"}'] == 1795312900
    assert values['nightgate_last_success_timestamp_seconds{dag_id="d",suite="nightly"}'] == 1795312900 - 86400
    assert 'nightgate_run_info{dag_id="d",run_id="night-2",scale="smoke",state="breach",suite="nightly"} 1.0' in page


def test_every_suite_has_gauges_of_its_own():
    own = engine("a", 0.9, at="2026-11-25T02:00:00.000Z").model_copy(update={"suite": "own"})
    runs = [
        Run("night-1", "d", "full", "pass", "2026-11-22T02:00:00Z", "2026-11-22T02:01:40Z"),
        Run("own-1", "o", "smoke", "breach", "2026-11-25T02:00:00Z", "2026-11-25T02:00:10Z", suite="own"),
    ]
    page = lines(
        Snapshot(
            [("night-1", engine("a", 0.12)), ("own-1", own)],
            last=runs,
            succeeded_at={("nightly", "d"): "2026-11-22T02:01:40Z"},
        )
    )
    assert [line for line in page if line.startswith("whisper_xrt")] == ['whisper_xrt{device="cpu"} 0.9'], (
        "of any suite"
    )
    assert (
        'nightgate_xrt_ratio{benchmark="transcription",device="cpu",host="",scale="",suite="own",variant="a"} 0.9'
        in page
    )
    assert 'nightgate_run_duration_seconds{dag_id="d",suite="nightly"} 100.0' in page
    assert 'nightgate_run_duration_seconds{dag_id="o",suite="own"} 10.0' in page
    assert [line.split("{")[1] for line in page if line.startswith("nightgate_last_success")] == [
        'dag_id="d",suite="nightly"} 1.7953129e+09'
    ]


def test_two_hosts_hide_nothing_of_each_other():
    """Each has nights of its own DAG: what one of them found is not covered by what the other found after it."""

    def of(host, xrt, verdict, at):
        found = Objective(metric="xrt", op="<=", limit=0.5, value=xrt, verdict=verdict)
        made = engine("a", xrt, at=f"2026-11-22T0{at}:00:00.000Z")
        return made.model_copy(
            update={"objectives": [found], "host": Host(fingerprint=host, cpu="a", cores=2, memory_bytes=2**30)}
        )

    slow, fast = ("night-1", of("4dad", 0.6, "breach", 2)), ("night-2", of("7777", 0.1, "pass", 3))
    origins = {"night-1": Origin("full", "nightly.east"), "night-2": Origin("smoke", "nightly.west")}
    page = lines(Snapshot(measured=[slow, fast], judged=[slow, fast], origins=origins))
    who = 'benchmark="transcription",device="cpu",host="{}",{}scale="{}",suite="nightly",variant="a"'
    for host, scale, xrt, verdict in (("4dad", "full", 0.6, "breach"), ("7777", "smoke", 0.1, "pass")):
        assert f"nightgate_xrt_ratio{{{who.format(host, '', scale)}}} {xrt}" in page
        metric = 'metric="xrt",'
        assert f'nightgate_objective_verdict{{{who.format(host, metric, scale)},verdict="{verdict}"}} 1.0' in page
    assert 'whisper_xrt{device="cpu"} 0.6' in page, "of the newest run of each"
    of_one = {name: origin._replace(dag_id="nightly") for name, origin in origins.items()}
    assert 'whisper_xrt{device="cpu"} 0.1' in lines(Snapshot(measured=[slow, fast], origins=of_one))


def test_without_results_there_is_still_a_page():
    assert [line.split("{")[0] for line in lines(Snapshot())] == ["nightgate_build_info"]


def test_two_pages_share_nothing():
    render(Snapshot(measured=[("n", engine("a", 0.1))]))
    assert not any(line.startswith("whisper_xrt") for line in lines(Snapshot()))


def test_a_gauge_of_two_meanings_hides_no_other(monkeypatch, caplog):
    """A package may give a name that another has given, with labels of its own."""
    real = registry.spec_of

    def spec_of(record, metric):
        found = real(record, metric)
        return replace(found, gauge="nightgate_build_info") if metric == "wer" else found

    monkeypatch.setattr(registry, "spec_of", spec_of)
    record = engine("a", 0.12)
    add(record, "wer", 0.05, 100)
    add(record, "load_seconds", 0.5)
    page = lines(Snapshot(measured=[("night-1", record)]))
    assert f'nightgate_build_info{{version="{__version__}"}} 1.0' in page
    assert any(line.startswith("nightgate_load_seconds{") and line.endswith(" 0.5") for line in page)
    assert not any(line.endswith(" 0.05") for line in page)
    assert "no gauge nightgate_build_info with the labels suite, benchmark, variant, device, host, scale" in caplog.text


def test_a_benchmark_whose_gauges_fail_hides_no_other(monkeypatch, caplog):
    def gauges(records):
        raise RuntimeError("a bug")

    monkeypatch.setattr(registry.installed()["hybrid_ann"], "gauges", gauges)
    assert 'whisper_xrt{device="cpu"} 0.12' in lines(Snapshot(measured=[("n", engine("a", 0.12))]))
    assert "no gauges of hybrid_ann" in caplog.text


@pytest.mark.parametrize(
    ("verdict", "nights", "expected"),
    [("inconclusive", 1, 1), ("inconclusive", 4, 4), ("pass", 4, 0), ("breach", 2, 0)],
)
def test_an_undecided_objective_is_neither_met_nor_unmet_and_says_for_how_long(verdict, nights, expected):
    objective = Objective(metric="xrt", op="<=", limit=2.0, value=2.0, verdict=verdict, nights=nights)
    page = lines(Snapshot(judged=[("n", engine("a").model_copy(update={"objectives": [objective]}))]))
    labels = 'benchmark="transcription",device="cpu",host="",metric="xrt",scale="",suite="nightly",variant="a"'
    assert f"nightgate_objective_undecided_nights{{{labels}}} {float(expected)}" in page
    held = [line for line in page if line.startswith("nightgate_objective_verdict") and line.endswith(" 1.0")]
    assert held == [f'nightgate_objective_verdict{{{labels},verdict="{verdict}"}} 1.0']


@pytest.mark.parametrize(("disturbed", "value"), [("another program kept a core busy", 1.0), (None, 0.0)])
def test_a_measurement_on_a_disturbed_host_is_marked(disturbed, value):
    record = query()
    record.facts.noise = Noise(disturbed=disturbed)
    labels = 'benchmark="hybrid_ann",device="cpu",host="",scale="",suite="nightly",variant="hybrid"'
    assert f"nightgate_measurement_disturbed{{{labels}}} {value}" in lines(Snapshot(measured=[("n", record)]))
    assert not any("disturbed" in line for line in lines(Snapshot(measured=[("n", query())]))), "nobody looked"


def test_what_the_watch_holds_is_a_series_of_its_own():
    labels = {
        "suite": "nightly",
        "benchmark": "hybrid_ann",
        "variant": "hybrid",
        "device": "cpu",
        "metric": "latency_p50_fast",
    }
    page = lines(
        Snapshot(regressed=[labels | {"scale": "full", "host": "4dad"}, labels | {"scale": "smoke", "host": "4dad"}])
    )
    assert [line for line in page if line.startswith("nightgate_regression{")] == [
        'nightgate_regression{benchmark="hybrid_ann",device="cpu",host="4dad",metric="latency_p50_fast",scale="full",suite="nightly",variant="hybrid"} 1.0',
        'nightgate_regression{benchmark="hybrid_ann",device="cpu",host="4dad",metric="latency_p50_fast",scale="smoke",suite="nightly",variant="hybrid"} 1.0',
    ]
    assert not any(line.startswith("nightgate_regression") for line in lines(Snapshot()))
