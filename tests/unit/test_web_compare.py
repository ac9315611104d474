"""Two runs, or two variants of one, held against each other on the board."""

from __future__ import annotations

import pytest
from support.fake_board import FakeStore, client, night
from support.specs import add

from nightgate.record import Record
from nightgate.results.store import Snapshot
from nightgate.web import app as web
from nightgate.web import compare


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("NIGHTGATE_RUNS", str(tmp_path))
    monkeypatch.setattr(web, "Store", FakeStore)
    monkeypatch.setattr(compare.restore, "fetch", lambda store, run_id: fetched.append(run_id))
    fetched = []
    runs = [night(8, p95=0.006), night(7, p95=0.0012), night(6, rows=9000)]
    for run, recall in ((runs[0], 0.95), (runs[1], 0.96)):
        control = Record(
            benchmark="hybrid_ann", variant="exact", device="cpu", status="measured", settings={}, gated=False,
            host=run.results[0].host,
        )  # fmt: skip
        add(control, "latency_p95", 0.02, 3000, (0.019, 0.021))
        add(run.results[0], "recall_at_100", recall, 200, (recall - 0.001, recall + 0.001))
        run.results.append(control)
    monkeypatch.setattr(FakeStore, "answers", (runs, Snapshot()))
    return fetched


def asked(**query):
    return client().get("/compare", params=query, headers={"accept": "text/html"})


def test_two_runs_are_compared_variant_by_variant(store):
    answer = asked(first="night-7", second="night-8")
    assert answer.status_code == 200
    assert "Hybrid ANN on cpu, hybrid: before is night-7, after is night-8" in answer.text
    assert "before is faster, 5.0 ×" in answer.text
    assert "Hybrid ANN on cpu, exact: before" in answer.text
    assert sorted(store) == ["night-7", "night-8"], "their samples are brought here"


def test_the_variants_of_a_run_are_offered_and_the_first_pair_is_shown():
    text = asked(first="night-8", second="night-8").text
    assert "Hybrid ANN on cpu: hybrid and exact of night-8" in text
    assert '<b aria-current="true">hybrid and exact on cpu</b>' in text


def test_what_did_other_work_is_not_called_better_unless_asked(store):
    text = asked(first="night-6", second="night-8").text
    assert "Not the same work" in text
    assert "rows: 9000 → 50,000" in text
    assert "is faster" not in text
    assert '<a href="compare?first=night-6&amp;second=night-8&amp;anyway=1">' in text
    assert "is faster" in asked(first="night-6", second="night-8", anyway=1).text


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"first": "night-1", "second": "night-8"}, "there is no judged run &#39;night-1&#39;. Next step: choose one on the board"),
        ({"first": "night-6", "second": "night-6"}, "measured no two variants of one benchmark"),
        ({"first": "night-7", "second": "night-8", "variants": "a"}, "does not name two"),
        ({"first": "night-7", "second": "night-8", "variants": "hybrid,nothing"}, "has no variant &#39;nothing&#39;"),
    ],
)  # fmt: skip
def test_what_cannot_be_compared_is_said_on_a_page(query, said):
    answer = asked(**query)
    assert answer.status_code == 404
    assert said in answer.text
    assert "<h1>There is no such page</h1>" in answer.text
