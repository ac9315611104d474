"""What others show of the verdicts, and who may ask for it; and what a page says that cannot be shown."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

import pytest
from fastapi import Depends, HTTPException
from support.fake_board import OTHER, FakeStore, client, night

from nightgate.publish.badge import badge
from nightgate.results.store import Snapshot
from nightgate.web import app as web
from nightgate.web.feeds import changes

ATOM = "{http://www.w3.org/2005/Atom}"
PAGE = {"accept": "text/html,*/*"}


@pytest.fixture(autouse=True)
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("NIGHTGATE_RUNS", str(tmp_path))
    monkeypatch.delenv("NIGHTGATE_METRICS_TOKEN", raising=False)
    monkeypatch.setattr(web, "Store", FakeStore)
    runs = [
        night(9, "breach", 0.031), night(8, "breach", 0.03), night(7, host=OTHER), night(6), night(5, "inconclusive", 0.0199), night(4),
    ]  # fmt: skip
    monkeypatch.setattr(FakeStore, "answers", (runs, Snapshot()))
    return runs


def test_a_night_whose_verdict_is_another_than_before_is_a_change(store):
    found = changes([replace(night(10), state=None), *store])
    assert [(one.run_id, one.before, one.now) for one in found] == [
        ("night-8", "pass", "breach"), ("night-7", None, "pass"), ("night-6", "inconclusive", "pass"), ("night-5", "pass", "inconclusive"),
        ("night-4", None, "pass"),
    ]  # fmt: skip
    assert found[0].series == "nightly, smoke, abc"
    assert found[0].lines[0].startswith("Hybrid ANN, hybrid on cpu: P95 latency is 30.0 ms")


def test_the_feed_is_atom_and_leads_to_the_runs():
    answer = client().get("/feed.atom")
    assert answer.headers["content-type"] == "application/atom+xml"
    root = ElementTree.fromstring(answer.content)
    first, *_ = entries = root.findall(f"{ATOM}entry")
    assert len(entries) == 5
    assert first.findtext(f"{ATOM}title") == "nightly, smoke, abc: pass → breach"
    assert first.find(f"{ATOM}link").get("href") == "http://localhost/runs/night-8"
    assert first.findtext(f"{ATOM}updated") == root.findtext(f"{ATOM}updated") == "2026-11-08T02:02:00Z"
    assert entries[1].findtext(f"{ATOM}content") == "Every objective holds."


def test_the_badge_says_what_became_of_the_newest_night():
    answer = client().get("/badge/nightly.svg")
    assert answer.headers["content-type"] == "image/svg+xml"
    assert answer.headers["cache-control"] == "no-cache"
    assert "<title>nightly: breach · 9 Nov 2026</title>" in answer.text
    ElementTree.fromstring(answer.text)
    assert "no night yet" in client().get("/badge/nightly.svg?scale=full").text
    assert client().get("/badge/nightl.svg").json() == {
        "detail": "there is no night of a suite 'nightl'; did you mean 'nightly'?"
    }


def test_a_badge_quotes_what_it_is_given():
    text = badge("<a&b>", "pass", "1 Nov")
    assert ElementTree.fromstring(text).get("aria-label") == "<a&b>: pass · 1 Nov"


@pytest.mark.parametrize("path", ["/badge/nightly.svg", "/feed.atom"])
def test_who_may_not_scrape_may_not_read_these(path):
    answer = client().get(path, headers={"host": "board.example"})
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")


def nobody():
    raise HTTPException(401, "Not authenticated")


def test_who_is_not_logged_in_is_sent_there_and_back_again():
    closed = client(dependencies=[Depends(nobody)], login=lambda request: f"/login?next={request.url.path}")
    answer = closed.get("/runs/night-8", headers=PAGE, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/login?next=/runs/night-8")
    assert closed.get("/runs/night-8").json() == {"detail": "Not authenticated"}, "a program gets no page"
    assert "<h1>Log in first</h1>" in client(dependencies=[Depends(nobody)]).get("/", headers=PAGE).text


def test_a_page_that_is_not_there_says_so_to_people_and_to_programs():
    answer = client().get("/runs/night-99", headers=PAGE)
    assert answer.status_code == 404
    assert "<h1>There is no such page</h1>" in answer.text
    assert "run night-99 has no report" in answer.text
    assert client().get("/runs/night-99").headers["content-type"] == "application/json"
    assert "<h1>There is no such page</h1>" in client().get("/nothing", headers=PAGE).text
    answer = client().get("/compare?first=night-8", headers=PAGE)
    assert (answer.status_code, "the address is not complete: second: Field required" in answer.text) == (422, True)


def test_the_summary_of_a_run_is_markdown():
    answer = client().get("/runs/night-8/summary.md")
    assert answer.headers["content-type"] == "text/markdown; charset=utf-8"
    assert answer.text.startswith("### 🔴 1 objective is breached\n")
    assert client().get("/runs/night-99/summary.md").status_code == 404
