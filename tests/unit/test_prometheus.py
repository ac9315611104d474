from prometheus_client.parser import text_string_to_metric_families

from nightgate.publish.prometheus import render
from nightgate.record import UNITS, Objective, Record
from nightgate.results.store import Run, Snapshot


def engine(variant, xrt=None, device="cpu", gated=("a", "b"), at="2026-11-22T02:00:00.000Z"):
    made = Record(
        benchmark="transcription", variant=variant, device=device, status="measured", settings={"variants": list(gated)},
        finished_at=at,
    )  # fmt: skip
    if xrt is not None:
        made.add("xrt", xrt, 5)
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
    assert any(line.startswith("nightgate_xrt_ratio{") and line.endswith(" 0.9") for line in page)


def test_every_metric_has_a_name_in_base_units():
    record = Record(benchmark="hybrid_ann", variant="hybrid", device="cpu", status="measured")
    for number, name in enumerate(UNITS, start=1):
        record.add(name, number)
    families = {
        family.name for family in text_string_to_metric_families(render(Snapshot(measured=[("n", record)]))[0].decode())
    }
    suffixes = ("_seconds", "_bytes", "_ratio", "_per_second", "_info")
    assert all(name.startswith("nightgate_") and name.endswith(suffixes) for name in families)
    page = lines(Snapshot(measured=[("n", record)]))
    labels = 'benchmark="hybrid_ann",device="cpu"'
    assert (
        f'nightgate_latency_seconds{{{labels},percentile="95",variant="hybrid"}} {float(list(UNITS).index("latency_p95") + 1)}'
        in page
    )
    assert (
        f'nightgate_recall_ratio{{at="5",{labels},variant="hybrid"}} {float(list(UNITS).index("recall_at_5") + 1)}'
        in page
    )
    assert len(page) == len(UNITS) + 1  # each value once, and the build info


def test_objectives_and_a_one_hot_verdict():
    record = engine("a").model_copy(
        update={"objectives": [Objective(metric="xrt", op="<=", limit=2.0, value=None, verdict="invalid")]}
    )
    page = lines(Snapshot(judged=[record]))
    labels = 'benchmark="transcription",device="cpu",metric="xrt",variant="a"'
    assert f"nightgate_objective_limit{{{labels}}} 2.0" in page
    assert not any(line.startswith("nightgate_objective_value") for line in page)
    verdicts = {
        line.split('verdict="')[1].split('"')[0]: line[-3:]
        for line in page
        if line.startswith("nightgate_objective_verdict")
    }
    assert verdicts == {"pass": "0.0", "breach": "0.0", "inconclusive": "0.0", "invalid": "1.0"}


def test_bounds_stand_beside_what_has_an_interval():
    record = Record(benchmark="hybrid_ann", variant="hybrid", device="cpu", status="measured")
    record.add("latency_p95", 0.002, 1000, (0.001, 0.003))
    record.add("recall_at_100", 0.95, 200, (0.94, 0.96))
    record.add("qps", 500, 1000, (450, 550))
    record.add("build_seconds", 20)
    page = lines(Snapshot(measured=[("n", record)]))
    labels = 'benchmark="hybrid_ann",device="cpu"'
    assert f'nightgate_latency_lower_bound_seconds{{{labels},percentile="95",variant="hybrid"}} 0.001' in page
    assert f'nightgate_latency_upper_bound_seconds{{{labels},percentile="95",variant="hybrid"}} 0.003' in page
    assert f'nightgate_recall_lower_bound_ratio{{at="100",{labels},variant="hybrid"}} 0.94' in page
    assert f'nightgate_queries_upper_bound_per_second{{{labels},variant="hybrid"}} 550.0' in page
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


def test_a_run_has_a_duration():
    last = Run("night-2", "d", "smoke", "breach", "2026-11-22T02:00:00Z", "2026-11-22T02:01:40Z")
    assert "nightgate_run_duration_seconds 100.0" in lines(Snapshot(last=last))


def test_completion_and_success_are_told_apart():
    last = Run("night-2", "d", "smoke", "breach", "2026-11-22T02:00:00Z", "2026-11-22T02:01:40Z")
    page = lines(Snapshot(last=last, succeeded_at="2026-11-21T02:01:40Z"))
    values = {line.split()[0]: float(line.split()[1]) for line in page}
    assert values["nightgate_last_completion_timestamp_seconds"] == 1795312900
    assert values["nightgate_last_success_timestamp_seconds"] == 1795312900 - 86400
    assert 'nightgate_run_info{run_id="night-2",scale="smoke",state="breach"} 1.0' in page


def test_without_results_there_is_still_a_page():
    assert [line.split("{")[0] for line in lines(Snapshot())] == ["nightgate_build_info"]


def test_two_pages_share_nothing():
    render(Snapshot(measured=[("n", engine("a", 0.1))]))
    assert not any(line.startswith("whisper_xrt") for line in lines(Snapshot()))
