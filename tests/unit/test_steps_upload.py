"""Publishing after a run: what Grafana's client is given, which runs belong on a dashboard, and how a run is named."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

import pytest
from support.street import HOST, Street

from nightgate import paths, planning, steps, uploading
from nightgate.errors import Unavailable
from nightgate.record import Summary
from nightgate.results import files

NOW = datetime(2026, 11, 22, 4, 5, 6, 999_999, tzinfo=UTC)


@pytest.fixture(autouse=True)
def street(monkeypatch, tmp_path):
    """Notes what Grafana's client and the parts that use it are given."""
    street = Street(monkeypatch, tmp_path)
    monkeypatch.setenv("GRAFANA_URL", "http://grafana")
    monkeypatch.setenv("GRAFANA_TOKEN", "a-token")
    monkeypatch.delenv("GRAFANA_FOLDER", raising=False)

    class Client:
        def __init__(self, *given):
            self.given = given

        def __enter__(self):
            return self.given

        def __exit__(self, *_):
            street.calls.append("closed")

    def publish(*given, **named):
        street.calls.append((*given, named))
        return ["a line"]

    def dry_run(*given, **named):
        street.calls.append((*given, named))
        yield True, "a sentence"

    monkeypatch.setattr(uploading.grafana, "Client", Client)
    monkeypatch.setattr(uploading.grafana, "publish", publish)
    monkeypatch.setattr(uploading.grafana, "dry_run", dry_run)

    class Clock(datetime):
        @classmethod
        def now(cls, zone):
            assert zone is UTC
            return NOW

    monkeypatch.setattr(uploading, "datetime", Clock)
    monkeypatch.setattr(planning, "datetime", Clock)
    return street


def ended(run_id, ago, **facts):
    """The summary of a run that ended ``ago``, on disk."""
    at = (NOW - ago).isoformat()
    summary = Summary(**{
        "run_id": run_id, "dag_id": "nightly_benchmarks", "scale": "full", "state": "breach", "started_at": at, "finished_at": at,
        "host": HOST, "scheduled": True, "overrides": {}, "results": [],
    } | facts)  # fmt: skip
    files.write_summary(summary)
    folder = paths.run_dir(run_id)
    os.utime(folder, (NOW.timestamp(), (NOW - ago).timestamp()))
    return summary


@pytest.mark.parametrize(("folder", "named"), [(None, "Nightgate"), ("", "Nightgate"), ("Ours", "Ours")])
def test_an_upload_hands_over_every_dashboard_and_the_recent_nights(street, monkeypatch, folder, named):
    if folder is not None:
        monkeypatch.setenv("GRAFANA_FOLDER", folder)
    night = ended("night-1", timedelta(days=1))
    boards = [paths.dashboards_dir() / f"{name}.json" for name in ("cache-backpressure", "nightly-slo")]
    assert steps.upload("a-run") == ["a line"]
    given = (("http://grafana", "a-token"), boards)
    assert street.calls == [(*given, [night], {"folder": named, "message": "run a-run"}), "closed"]
    street.calls.clear()
    assert steps.rehearse_upload() == [(True, "a sentence")]
    assert street.calls == [(*given, {"folder": named}), "closed"]


def test_dashboards_are_the_json_files_by_name(monkeypatch, tmp_path):
    for name in ("b.json", "a.json", "c.yaml"):
        (tmp_path / name).touch()
    monkeypatch.setattr(paths, "dashboards_dir", lambda: tmp_path)
    assert uploading._dashboards() == [tmp_path / "a.json", tmp_path / "b.json"]


@pytest.mark.parametrize(
    ("url", "token", "missing"),
    [("", "t", "GRAFANA_URL"), ("u", "", "GRAFANA_TOKEN"), ("", "", "GRAFANA_URL and GRAFANA_TOKEN"), (None, None, "GRAFANA_URL and GRAFANA_TOKEN")],
)  # fmt: skip
@pytest.mark.parametrize("work", [lambda: steps.upload("a-run"), steps.rehearse_upload])
def test_what_is_missing_for_an_upload_is_named(monkeypatch, street, work, url, token, missing):
    for name, value in (("GRAFANA_URL", url), ("GRAFANA_TOKEN", token)):
        if value is None:
            monkeypatch.delenv(name)
        else:
            monkeypatch.setenv(name, value)
    with pytest.raises(Unavailable, match=f"^{missing} not set, so no dashboard is uploaded$"):
        work()
    assert street.calls == []


def test_the_nights_of_the_last_two_weeks_are_caught_up_oldest_first():
    two_weeks = timedelta(days=14)
    last = ended("z-last", two_weeks)
    ended("a-too-old", two_weeks + timedelta(milliseconds=1))
    yesterday, today = ended("m-yesterday", timedelta(days=1)), ended("b-today", timedelta(hours=1))
    ended("c-by-hand", timedelta(hours=2), dag_id=steps.BY_HAND)
    ended("d-stand-in", timedelta(hours=3), scheduled=False)
    assert uploading._recent_nights() == [last, yesterday, today]


def test_a_run_that_ended_long_ago_is_left_out_though_its_folder_changed_since():
    summary = ended("night-1", timedelta(days=15))
    files.write_report("night-1", "again")
    assert uploading._recent_nights() == []
    recent = ended("night-2", timedelta(days=2))
    assert uploading._recent_nights() == [recent]
    assert files.read_summary("night-1") == summary


def test_runs_without_a_summary_hide_none_of_the_others(monkeypatch):
    night = ended("night-1", timedelta(days=1))
    for name in ("torn", "running"):
        (paths.runs_dir() / name).mkdir(parents=True)
    (paths.runs_dir() / "torn" / "summary.json").write_text("{")
    asked = []

    def newest(*given):
        asked.append(given)
        return ["gone", "torn", "running", "night-1"]

    monkeypatch.setattr(files, "newest_runs", newest)
    assert uploading._recent_nights() == [night]
    assert asked[0] == (None, NOW - timedelta(days=14)), "of all the folders those that changed since"


def test_a_run_is_named_after_its_moment():
    assert steps.new_run_id("smoke") == "smoke-20261122T040506.999Z"
