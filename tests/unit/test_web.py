import base64
import hashlib
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from fastapi import Depends, HTTPException
from support.fake_board import OTHER, FakeStore, client, courses, night
from support.specs import add

from nightgate import paths
from nightgate.artifacts import Cache
from nightgate.artifacts.counted import counted
from nightgate.errors import ServiceUnavailable
from nightgate.facts import Noise
from nightgate.measure.durations import NIGHT_SECONDS
from nightgate.publish import certainty
from nightgate.record import BY_HAND, Between, Record
from nightgate.results.noted import Note, Scope
from nightgate.results.store import Run, Snapshot
from nightgate.web import app as web
from nightgate.web import board, filters, objectives


@pytest.fixture(autouse=True)
def runs_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("NIGHTGATE_RUNS", str(tmp_path))
    monkeypatch.delenv("NIGHTGATE_METRICS_TOKEN", raising=False)
    monkeypatch.setattr(web, "Store", FakeStore)
    monkeypatch.setattr(FakeStore, "answers", ([], Snapshot()))
    monkeypatch.setattr(FakeStore, "error", None)
    monkeypatch.setattr(objectives, "courses", courses)
    return tmp_path


def tracked(runs, number=0, notes=()):
    store = FakeStore("postgresql://store")
    store.answers, store.said = (runs, Snapshot()), tuple(notes)
    (row,) = objectives.tracked(runs[number], store)
    return row


def test_metrics_come_from_the_store(monkeypatch):
    record = Record(
        benchmark="transcription", variant="a", device="cpu", status="measured", settings={"variants": ["a"]}
    )
    add(record, "xrt", 0.12, 5)
    monkeypatch.setattr(FakeStore, "answers", ([], Snapshot(measured=[("n", record)])))
    answer = client().get("/metrics")
    assert 'whisper_xrt{device="cpu"} 0.12\n' in answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=")


def test_the_caches_of_all_hosts_are_on_the_page_and_that_of_this_one_as_it_is_now(monkeypatch, tmp_path):
    monkeypatch.setenv("NIGHTGATE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NIGHTGATE_HOST", "main")
    own = counted(Cache(paths.cache_dir()), "worker")
    Cache(paths.cache_dir()).events.request("hit")
    other = own.model_copy(update={"cache": "another", "host": "west", "counts": {"requests.hit": 7}})
    monkeypatch.setattr(FakeStore, "known_caches", (own, other))
    lines = client().get("/metrics").text.splitlines()
    assert [line for line in lines if 'result="hit"' in line] == [
        'nightgate_cache_requests_total{host="worker",result="hit"} 1.0',
        'nightgate_cache_requests_total{host="west",result="hit"} 7.0',
    ]
    monkeypatch.setattr(FakeStore, "known_caches", (other,))
    assert 'nightgate_cache_requests_total{host="main",result="hit"} 1.0' in client().get("/metrics").text


def test_a_store_that_is_down_is_said(monkeypatch):
    monkeypatch.setattr(FakeStore, "error", ServiceUnavailable("the results database cannot be used", "check it"))
    for path in ("/metrics", "/"):
        answer = client().get(path)
        assert answer.status_code == 503
        assert "the results database cannot be used. Next step: check it" in answer.text


def test_the_board_is_closed_by_its_dependencies_and_metrics_is_not():
    def nobody():
        raise HTTPException(401)

    closed = client(dependencies=[Depends(nobody)])
    assert closed.get("/").status_code == 401
    assert closed.get("/runs/night-1").status_code == 401
    assert closed.get("/metrics").status_code == 200


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/openapi.json"])
def test_the_api_pages_of_the_framework_are_off(path):
    assert client().get(path).status_code == 404


def test_a_board_without_runs_says_how_to_start_one():
    answer = client().get("/")
    assert answer.status_code == 200
    assert "No night has been judged yet" in answer.text


def test_the_board_shows_the_newest_verdicts_and_since_when(monkeypatch, runs_folder):
    running = Run("night-9", "nightly_benchmarks", "smoke", None, None, None, [], "night")
    runs = [
        running,
        night(8, "breach", 0.0222),
        night(7, p95=0.5, scale="full"),
        night(6, "breach", 0.0211),
        night(5, "breach", 0.9, host=OTHER),
        night(5, p95=0.8, rows=5000),
        night(5, p95=0.7, digest="other"),
        night(4, "pass"),
        night(3, "breach", 0.03),
    ]
    monkeypatch.setattr(FakeStore, "answers", (runs, Snapshot()))
    (runs_folder / "night-8").mkdir()
    (runs_folder / "night-8" / "report.html").write_text("the report")
    text = client().get("/").text
    assert "1 objective is breached" in text
    row = tracked(runs, 1)
    assert (row.now["value"], row.since.run_id, row.nights, row.good.run_id) == ("22.2 ms", "night-6", 2, "night-4")
    assert row.change == "+1750 %", "1.2 ms has become 22.2 ms"
    said = "Hybrid ANN, hybrid on cpu: P95 latency is 22.2 ms, the limit &lt; 20 ms, 11 % past it, for 2 nights, last good 4 Nov 2026."
    assert said in text
    assert "Night of 8 Nov 2026, nightly, smoke, host abc" in text
    assert '<a href="runs/night-8">' in text
    assert "night-9" in text


def test_every_suite_has_its_newest_verdicts(monkeypatch):
    """And a night of one is not what was before in the other."""
    own = [
        replace(night(number, verdict, p95), run_id=f"own-{number}", suite="own")
        for number, verdict, p95 in ((6, "breach", 0.5), (4, "pass", 0.004))
    ]
    for run in own:
        run.results[0].suite = "own"
    runs = [night(8, p95=0.001), own[0], night(5, p95=0.002), own[1]]
    monkeypatch.setattr(FakeStore, "answers", (runs, Snapshot()))
    text = client().get("/").text
    assert text.index("<h1>The objective holds</h1>") < text.index("<h1>1 objective is breached</h1>")
    assert [tracked(runs, number).good.run_id for number in (0, 1)] == ["night-5", "own-4"]
    assert '<a href="?suite=own">own</a>' in text and ">smoke</a>" not in text, "there is one scale"
    text = client().get("/?suite=own").text
    assert "1 objective is breached" in text and "The objective holds" not in text and "night-8" not in text
    assert '<b aria-current="true">own</b>' in text and '<a href=".">every suite</a>' in text


@pytest.mark.parametrize(("hours", "state"), [(None, "running"), (-0.1, "running"), (0.1, "unfinished")])
def test_a_run_that_was_never_judged_does_not_run_for_ever(hours, state):
    recorded = hours and datetime.now(UTC) - timedelta(seconds=NIGHT_SECONDS, hours=hours)
    run = Run("night-9", "nightly_benchmarks", "full", None, None, None, [], "night", {}, recorded)
    assert board.listed(run).state == state
    assert board.listed(night(8, "breach")).state == "breach"


def test_without_a_night_of_the_same_work_there_is_no_before(monkeypatch):
    runs = [night(8, "breach", 0.0222), night(7, "breach", 0.5, rows=5000), night(6, "breach", 0.4, scale="full")]
    row = tracked(runs)
    assert (row.good, row.change, row.since.run_id, row.nights) == (None, "no good night before", "night-8", 1)


def test_ad_hoc_runs_are_listed_apart_with_what_was_overridden(monkeypatch):
    changes = {"hybrid_ann.rows": 5000, "objectives.hybrid_ann.latency_p95.cpu": "< 0.5", "benchmarks": ["hybrid_ann"]}
    adhoc = night(9, "breach", 0.0444, standing="ad-hoc", overrides=changes)
    old = night(7, "breach", 0.0333, standing="ad-hoc")
    monkeypatch.setattr(FakeStore, "answers", ([adhoc, night(8, p95=0.0111), old], Snapshot()))
    text = client().get("/").text
    top, nights, others = re.split("<h2>(?:Nights|Ad-hoc runs)</h2>", text)
    assert "The objective holds" in top and "11.1 ms" in top and "44.4 ms" not in text
    assert "night-8" in nights and "night-9" not in nights
    assert "night-9" in others and "night-7" in others
    for said in (
        "Overridden: hybrid_ann.rows 5000",
        "latency_p95.cpu &lt; 0.5",
        "Overridden: benchmarks hybrid_ann",
        "Overridden: not known",
    ):
        assert said in others
    assert "by hand" not in top and "<circle" in top


def test_a_run_that_stands_in_for_a_night_says_so(monkeypatch):
    monkeypatch.setattr(FakeStore, "answers", ([night(8, standing="stand-in")], Snapshot()))
    text = client().get("/").text
    assert "The objective holds" in text
    assert "Started by hand; the first scheduled night takes its place" in text
    assert "Ad-hoc" not in text


def test_what_was_skipped_stands_under_the_headline_and_in_the_list(monkeypatch):
    run = night(8)
    reason = "this host has no NVIDIA device. Next step: measure it elsewhere"
    run.results.append(Record(benchmark="hybrid_ann", variant="hybrid", device="gpu", status="skipped", reason=reason))
    monkeypatch.setattr(FakeStore, "answers", ([run], Snapshot()))
    text = client().get("/").text
    assert text.count("Skipped: hybrid_ann on gpu: this host has no NVIDIA device<") == 2


def test_a_page_may_run_its_one_script_and_no_other():
    answer = client().get("/")
    (script,) = re.findall(r"<script>(.*?)</script>", answer.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    allowed = dict(part.strip().split(" ", 1) for part in answer.headers["Content-Security-Policy"].split(";"))
    assert (allowed["script-src"], allowed["default-src"]) == (f"'sha256-{digest}'", "'none'")


def test_a_report_is_served_from_its_run_folder(runs_folder):
    name = "scheduled__2026-11-22T02:00:00+00:00"
    (runs_folder / name).mkdir()
    (runs_folder / name / "report.html").write_text("<h1>the report</h1>")
    answer = client().get("/runs/scheduled__2026-11-22T02%3A00%3A00%2B00%3A00")
    assert answer.text == "<h1>the report</h1>"
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]


def test_the_report_of_another_host_comes_from_the_store_and_is_the_one_that_counts(runs_folder, monkeypatch):
    monkeypatch.setattr(FakeStore, "files", {("night-1", "report.html"): b"<h1>from elsewhere</h1>"})
    (runs_folder / "night-1").mkdir()
    (runs_folder / "night-1" / "report.html").write_text("<h1>of an earlier try</h1>")
    assert client().get("/runs/night-1").text == "<h1>from elsewhere</h1>"
    monkeypatch.setattr(FakeStore, "error", ServiceUnavailable("the results database is away"))
    assert client().get("/runs/night-1").text == "<h1>of an earlier try</h1>"
    assert client().get("/runs/night-2").json()["detail"].endswith("left no folder here; the results database is away")


def test_a_report_that_is_missing_says_what_is_there(runs_folder):
    (runs_folder / "night-1").mkdir()
    start = "has no report, in the results database or on this machine: "
    assert client().get("/runs/night-1").json()["detail"] == (
        f"run night-1 {start}it runs still, or was ended before its report"
    )
    answer = client().get("/runs/night-2")
    assert (answer.status_code, answer.json()["detail"]) == (404, f"run night-2 {start}it left no folder here")


@pytest.mark.parametrize("run_id", ["none", "..%2Fnight", "%2e%2e", "..", ".hidden", "a%00b", "a%5Cb"])
def test_no_other_file_is_served(runs_folder, run_id):
    (runs_folder.parent / "night").mkdir(exist_ok=True)
    (runs_folder.parent / "night" / "report.html").write_text("not for you")
    (runs_folder.parent / "report.html").write_text("not for you")
    answer = client().get(f"/runs/{run_id}")
    assert "not for you" not in answer.text
    assert answer.status_code in (200, 404)


def test_what_a_run_is_called_is_text(monkeypatch):
    strange = night(1)
    strange.results[0].variant = "<script>alert(1)</script>"
    monkeypatch.setattr(FakeStore, "answers", ([strange], Snapshot()))
    assert "<script>alert" not in client().get("/").text


def test_an_undecided_night_is_neither_held_nor_unmet(monkeypatch):
    run = night(8, "inconclusive", 0.0199)
    run.results[0].objectives[0].nights = 3
    run.results[0].objectives[0].reason = "the limit lies inside the interval"
    monkeypatch.setattr(FakeStore, "answers", ([run], Snapshot()))
    text = client().get("/").text
    assert (
        "<h1>1 objective is undecided</h1>" in text
        and "P95 latency is 19.9 ms, the limit &lt; 20 ms, never good before." in text
    )
    assert text.count('<span class="pill inconclusive">undecided</span>') == 2, "the objective and the night"
    assert "undecided for 3 nights" in text and certainty.UNDECIDED in text
    line = board.listed(run)
    assert (line.held, line.unmet, line.undecided) == (0, [], ["P95 latency of hybrid on cpu for 3 nights"])
    assert "<div>Undecided: P95 latency of hybrid on cpu for 3 nights</div>" in text
    monkeypatch.setattr(FakeStore, "answers", ([night(8)], Snapshot()))
    assert "ndecided:" not in client().get("/").text


def test_a_disturbed_night_says_why_and_shows_its_speeds_hollow(monkeypatch):
    run = night(8, "invalid")
    run.results[0].objectives[0].value = 0.0012
    run.results[0].facts.noise = Noise(disturbed="another program kept 0.9 of 2 cores busy")
    monkeypatch.setattr(FakeStore, "answers", ([run, night(7)], Snapshot()))
    text = client().get("/").text
    assert text.count("Disturbed: Hybrid ANN on cpu: another program kept 0.9 of 2 cores busy") == 2
    assert '<b class="hollow">1.20 ms†</b>' in text
    assert certainty.DISTURBED in text
    assert board.listed(run).disturbed and not board.listed(night(7)).disturbed


def test_what_people_said_of_a_night_is_shown_and_an_excluded_one_is_no_before(monkeypatch):
    runs = [night(8, p95=0.003), night(7, p95=0.002), night(6, p95=0.001)]
    notes = [
        Note(
            "excluded", Scope("night-7", "hybrid_ann"), "a <b>fan</b> failed", "ada@bench", "2026-11-07T09:00:00.000Z"
        ),
        Note("accepted", Scope("night-8"), "faiss 1.15", "ada@bench", "2026-11-08T09:00:00.000Z"),
    ]
    monkeypatch.setattr(FakeStore, "answers", (runs, Snapshot()))
    monkeypatch.setattr(FakeStore, "said", tuple(notes))
    text = client().get("/").text
    assert text.count("Accepted as the new baseline: faiss 1.15 (ada@bench, 8 Nov 2026)") == 2, "headline and list"
    assert "<div>Excluded, hybrid_ann: a &lt;b&gt;fan&lt;/b&gt; failed (ada@bench, 7 Nov 2026)</div>" in text
    assert [tracked(runs, 0, said).good.run_id for said in (notes, [])] == ["night-6", "night-7"]


def test_the_list_says_what_was_not_met(monkeypatch):
    monkeypatch.setattr(FakeStore, "answers", ([night(8, "breach", 0.0222)], Snapshot()))
    text = client().get("/").text
    assert "<div>Not met: P95 latency of hybrid on cpu</div>" in text and "Undecided" not in text


def test_each_scale_and_each_host_has_its_newest_night_and_one_can_choose(monkeypatch):
    runs = [night(9, host=OTHER), night(8), night(7, "breach", 0.03, scale="full"), night(6)]
    monkeypatch.setattr(FakeStore, "answers", (runs, Snapshot()))
    assert [run.run_id for run in board.newest_of_each(runs)] == ["night-7", "night-8", "night-9"]
    text = client().get("/").text
    assert text.count('<header class="hero') == 3
    assert '<a href="?scale=full">full</a>' in text and '<a href="?host=other">other</a>' in text
    text = client().get("/?scale=smoke&host=abc").text
    assert text.count('<header class="hero') == 1 and "Night of 8 Nov 2026" in text
    assert '<a href="?scale=full&amp;host=abc">full</a>' in text and '<a href="?scale=smoke">every host</a>' in text
    assert "night-7" not in text and "night-9" not in text
    running = Run("night-10", "nightly_benchmarks", "smoke", None, None, None, [], "night")
    assert filters.holds(running, {"suite": "", "scale": "smoke", "host": "abc"}), "nobody knows its host yet"


def test_a_change_is_told_by_what_runs_of_the_series_differ_by(monkeypatch):
    def change(p95, between=0.02, apart=None, **more):
        runs = [night(8, p95=p95, **more), night(7, p95=0.002)]
        for run in runs:
            run.results[0].metrics["latency_p95"].ci95 = None
            metric = run.results[0].metrics["latency_p95"]
            metric.ci95 = (metric.value * 0.99, metric.value * 1.01)
        metric.ci95 = (0.00198, 0.00202)
        now = runs[0].results[0].metrics["latency_p95"]
        now.between, now.within95 = Between(sd=between, apart=apart, farthest=apart, runs=20, prior=False), now.ci95
        return tracked(runs).change

    assert change(0.0026) == "+30 %"
    assert change(0.0014) == "−30 %"
    assert change(0.0026, apart=0.4) == "+30 %", "a step does not hide itself from its second night on"
    assert change(0.0021) == "no difference can be told"
    assert change(0.0026, between=0.2) == "no difference can be told"


def test_a_report_has_what_the_board_knows_of_its_run_above_it(monkeypatch):
    runs = [
        night(
            8,
            "breach",
            0.0222,
            overrides={"hybrid_ann.rows": 5000, "benchmarks": ["hybrid_ann"], "hybrid_ann.k": "a b"},
        ),
        night(7),
    ]
    runs[0] = replace(runs[0], standing="ad-hoc")
    for run, version in zip(runs, ("1.15", "1.14"), strict=True):
        run.results[0].facts.provenance.versions = {"faiss": version}
    monkeypatch.setattr(FakeStore, "answers", (runs, Snapshot()))
    monkeypatch.setattr(FakeStore, "files", {("night-8", "report.html"): b"<main>the report</main>"})
    text = client().get("/runs/night-8").text
    assert text.startswith("<main>\n<script>") and text.endswith("the report</main>")
    assert "22.2 ms against &lt; 20 ms, breach; since the last good night: +1750 %" in re.sub(r"\s+", " ", text)
    assert '<a href="night-7">← the run before</a>' in text and "the run after" not in text
    assert 'href="../../dags/nightly_benchmarks/runs/night-8"' in text
    assert "the last good night before: faiss 1.14 → 1.15." in text
    assert (
        "nightgate run --scale smoke --set hybrid_ann.rows=5000 --benchmarks hybrid_ann --set &#39;hybrid_ann.k=a b&#39;"
        in text
    )
    assert "<svg" in text and 'href="../series?suite=nightly' in text


def test_a_run_under_way_is_a_page_too(monkeypatch):
    running = Run(
        "night-9", "nightly_benchmarks", "smoke", None, None, None, night(9).results, "night", {}, datetime.now(UTC)
    )
    running.results[0].objectives = []
    monkeypatch.setattr(FakeStore, "answers", ([running, night(8)], Snapshot()))
    answer = client().get("/runs/night-9")
    assert answer.status_code == 200
    assert "It is not judged yet" in answer.text and "it is still under way" in answer.text
    assert "hybrid on cpu: P95 latency 1.20 ms" in answer.text


def test_a_run_of_another_dag_and_one_by_hand_lead_where_they_were_started(monkeypatch):
    own = replace(night(8), run_id="own.manual__2026", dag_id="own", suite="search")
    hand = replace(
        night(7, overrides={"benchmarks": ["hybrid_ann"], "hybrid_ann.k": 7}), run_id="measure-1", dag_id=BY_HAND
    )
    monkeypatch.setattr(FakeStore, "answers", ([own, hand], Snapshot()))
    monkeypatch.setattr(FakeStore, "files", {(run.run_id, "report.html"): b"<main></main>" for run in (own, hand)})
    text = client().get("/runs/own.manual__2026").text
    assert 'href="../../dags/own/runs/manual__2026"' in text and "the file of the suite search" in text
    text = client().get("/runs/measure-1").text
    assert (
        "In Airflow" not in text
        and "nightgate measure hybrid_ann --device cpu --scale smoke --set hybrid_ann.k=7<" in text
    )


def test_what_the_watch_holds_stands_under_the_headline_of_its_host(monkeypatch):
    said = {"sentence": "P50 is 9 % worse <here>.", "causes": ["faiss-cpu 1.0 → 1.1", "numpy 1 → 2"]}
    other = {"sentence": "Another host.", "causes": []}
    monkeypatch.setattr(FakeStore, "answers", ([night(8)], Snapshot()))
    rows = [
        ("regression", "a smoke@abc", "night-7", said),
        ("regression", "a smoke@other", "night-7", other),
        ("breach", "b smoke@abc", "night-7", other),
        ("regression", "a full@abc", "night-7", other),
    ]
    monkeypatch.setattr(FakeStore, "holding", rows)
    text = client().get("/").text
    assert "Slower or worse than before:</b> P50 is 9 % worse &lt;here&gt;. Probably: faiss-cpu 1.0 → 1.1.</p>" in text
    assert "Another host." not in text
