import hashlib
import re
import zlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import ClassVar

import pytest
from fastapi import Depends, HTTPException
from fastapi.testclient import TestClient
from support.specs import add

from nightgate import paths
from nightgate.artifacts import Cache
from nightgate.artifacts.counted import Counted, counted
from nightgate.errors import ServiceUnavailable
from nightgate.facts import Noise
from nightgate.measure.durations import NIGHT_SECONDS
from nightgate.publish import certainty
from nightgate.record import Host, Objective, Record
from nightgate.results.noted import Note, Scope
from nightgate.results.store import Run, Snapshot
from nightgate.web import app as web
from nightgate.web import board

HOST = Host(fingerprint="abc", cpu="a cpu", cores=2, memory_bytes=2**34)
OTHER = HOST.model_copy(update={"fingerprint": "other"})


class FakeStore:
    """What the app asks of the store, without a server."""

    answers: tuple[list[Run], Snapshot] = ([], Snapshot())
    error: Exception | None = None
    said: tuple[Note, ...] = ()
    known_caches: tuple[Counted, ...] = ()
    files: ClassVar[dict[tuple[str, str], bytes]] = {}

    def __init__(self, url):
        assert url == "postgresql://store"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def nights(self, limit):
        return [run for run in self._answer(0) if run.standing != "ad-hoc"][:limit]

    def others(self, limit):
        return [run for run in self._answer(0) if run.standing == "ad-hoc"][:limit]

    def notes(self, runs):
        return [note for note in self.said if note.scope.run_id in runs]

    def snapshot(self):
        return self._answer(1)

    def caches(self):
        return list(self.known_caches)

    def rows(self, query, values):
        if self.error:
            raise self.error
        assert "FROM nightgate.files" in query
        content = self.files.get(values)
        return [(zlib.compress(content), hashlib.sha256(content).hexdigest())] if content else []

    def _answer(self, number):
        if self.error:
            raise self.error
        return self.answers[number]


@pytest.fixture(autouse=True)
def runs_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("NIGHTGATE_RUNS", str(tmp_path))
    monkeypatch.delenv("NIGHTGATE_METRICS_TOKEN", raising=False)
    monkeypatch.setattr(web, "Store", FakeStore)
    monkeypatch.setattr(FakeStore, "answers", ([], Snapshot()))
    monkeypatch.setattr(FakeStore, "error", None)
    return tmp_path


def client(**more):
    return TestClient(
        web.create_app(lambda: "postgresql://store", **more), "http://localhost", client=("127.0.0.1", 50000)
    )


def night(
    number,
    verdict="pass",
    p95=0.0012,
    scale="smoke",
    host=HOST,
    standing="night",
    overrides=None,
    rows=50_000,
    digest="d",
):
    settings, facts = {"rows": rows, "variants": ["hybrid"]}, {"inputs": {"data": digest}}
    record = Record(
        benchmark="hybrid_ann",
        variant="hybrid",
        device="cpu",
        status="measured",
        host=host,
        settings=settings,
        facts=facts,
    )
    add(record, "latency_p95", p95, 3000, (p95 * 0.9, p95 * 1.1))
    record.objectives = [Objective(metric="latency_p95", op="<", limit=0.02, value=p95, verdict=verdict)]
    day = f"2026-11-{number:02d}"
    return Run(
        f"night-{number}",
        "nightly_benchmarks",
        scale,
        verdict,
        f"{day}T02:00:00Z",
        f"{day}T02:02:00Z",
        [record],
        standing,
        overrides,
    )


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
    (row,) = board.tracked(runs[1], runs)
    assert (row.now["value"], row.before, row.since) == ("22.2 ms", "21.1 ms", "2026-11-06T02:00:00Z")
    assert '<a href="runs/night-8">' in text
    assert "runs/night-7" not in text
    assert "night-9" in text


def test_every_suite_has_its_newest_verdicts(monkeypatch):
    """And a night of one is not what was before in the other."""
    own = [
        replace(night(number, verdict, p95), run_id=f"own-{number}", suite="own")
        for number, verdict, p95 in ((6, "breach", 0.5), (4, "breach", 0.4))
    ]
    runs = [night(8, p95=0.001), own[0], night(5, p95=0.002), own[1]]
    monkeypatch.setattr(FakeStore, "answers", (runs, Snapshot()))
    text = client().get("/").text
    assert text.index("<h1>nightly: The objective holds</h1>") < text.index("<h1>own: 1 objective is breached</h1>")
    assert [board.tracked(run, runs)[0].before for run in (runs[0], own[0])] == ["2.00 ms", "400 ms"]


@pytest.mark.parametrize(("hours", "state"), [(None, "running"), (-0.1, "running"), (0.1, "unfinished")])
def test_a_run_that_was_never_judged_does_not_run_for_ever(hours, state):
    recorded = hours and datetime.now(UTC) - timedelta(seconds=NIGHT_SECONDS, hours=hours)
    run = Run("night-9", "nightly_benchmarks", "full", None, None, None, [], "night", {}, recorded)
    assert board.listed(run).state == state
    assert board.listed(night(8, "breach")).state == "breach"


def test_without_a_night_of_the_same_work_there_is_no_before(monkeypatch):
    runs = [night(8, "breach", 0.0222), night(7, "breach", 0.5, rows=5000), night(6, "breach", 0.4, scale="full")]
    (row,) = board.tracked(runs[0], runs)
    assert (row.before, row.since) == (None, "2026-11-08T02:00:00Z")


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
    assert "by hand" not in top


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
    assert "<script>" not in client().get("/").text


def test_an_undecided_night_is_neither_held_nor_unmet(monkeypatch):
    run = night(8, "inconclusive", 0.0199)
    run.results[0].objectives[0].nights = 3
    run.results[0].objectives[0].reason = "the limit lies inside the interval"
    monkeypatch.setattr(FakeStore, "answers", ([run], Snapshot()))
    text = client().get("/").text
    assert "<h1>1 objective is undecided</h1>" in text
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
    assert [board.tracked(runs[0], runs, said)[0].before for said in (notes, [])] == ["1.00 ms", "2.00 ms"]


def test_the_list_says_what_was_not_met(monkeypatch):
    monkeypatch.setattr(FakeStore, "answers", ([night(8, "breach", 0.0222)], Snapshot()))
    text = client().get("/").text
    assert "<div>Not met: P95 latency of hybrid on cpu</div>" in text and "Undecided" not in text
