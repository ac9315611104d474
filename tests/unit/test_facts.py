"""What a record says of how it was measured, and that records of version 1 still say it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nightgate.facts import Batch, Crowd, Point
from nightgate.record import STORED, Record, Summary

KEPT = sorted((Path(__file__).resolve().parents[2] / "benchmarks" / "reference").glob("*/summary.json"))


def read(**data):
    given = {"benchmark": "b", "variant": "v", "device": "cpu", "status": "measured", **data}
    return Record.model_validate(given, context=STORED)


@pytest.mark.parametrize("file", KEPT, ids=lambda file: file.parent.name)
def test_the_kept_runs_are_read_whole(file):
    """Whatever stood in them stands in them now: among the facts or in the detail."""
    before = json.loads(file.read_text())
    after = Summary.model_validate_json(file.read_bytes(), context=STORED)
    measured = 0
    for old, new in zip(before["results"], after.results, strict=True):
        assert new.gated == (old["variant"] in old["settings"].get("variants", [old["variant"]]))
        assert {name: metric.value for name, metric in new.metrics.items()} == {
            name: metric["value"] for name, metric in old["metrics"].items()
        }
        if old["status"] != "measured":
            continue
        measured += 1
        assert new.facts.provenance.versions == old["detail"]["versions"] != {}
        assert new.facts.noise.canary_before.seconds == old["detail"]["noise"]["canary_before"]["seconds"]
        assert new.facts.inputs, "what was worked on"
        if curve := old["detail"].get("curve"):
            assert [point.recall for point in new.facts.tuning.curve] == [point["recall"] for point in curve]
            assert new.facts.tuning.chosen.setting == old["detail"]["setting"]
            assert new.facts.vectors.rows == old["detail"]["data"]["rows"]
        if loop := old["detail"].get("open_loop"):
            assert new.facts.open_loop.utilisation == loop["utilisation"]
        assert len(new.facts.crowds) == len(old["detail"].get("clients", []))
    assert measured


def test_version_1_is_read_into_types():
    found = read(
        detail={
            "setting": {"lists": 32}, "recall_target": 0.9, "tuning_reached_target": False,
            "curve": [{"setting": {"lists": 16}, "recall": 0.8, "latency_p50": 0.1, "latency_p95": 0.2}],
            "throughput": {"threads": 2, "batch": 256}, "threads": 1, "mine": "stays",
            "clients": [{"clients": 4, "queries_per_second": 9.0, "ci95": [8.0, 10.0], "latency_p50": 0.1, "latency_p95": 0.3}],
        },
        metrics={"throughput_qps": {"value": 2442.0, "unit": "per_second", "n": 9, "ci95": [2400.0, 2500.0]}},
    )  # fmt: skip
    assert found.facts.tuning.curve == [Point(setting={"lists": 16}, recall=0.8, latency_p50=0.1, latency_p95=0.2)]
    assert (found.facts.tuning.target, found.facts.tuning.reached, found.facts.tuning.chosen) == (0.9, False, None)
    assert found.facts.batches == [Batch(size=256, threads=2, queries_per_second=2442.0, ci95=(2400.0, 2500.0))]
    assert found.facts.crowds == [
        Crowd(clients=4, queries_per_second=9.0, ci95=(8.0, 10.0), latency_p50=0.1, latency_p95=0.3)
    ]
    assert (found.facts.threads, found.detail) == (1, {"mine": "stays"})
    assert read(**found.model_dump(mode="json")) == found, "reading it again changes nothing"


@pytest.mark.parametrize(
    "detail", [{"noise": "loud"}, {"curve": [{"x": 1}], "setting": {}}, {"open_loop": {"rate": "x"}}]
)
def test_what_is_not_as_it_should_be_stays_where_it_is(detail):
    assert read(detail=dict(detail)).detail == detail


def test_what_was_not_read_from_a_file_is_taken_as_it_is():
    made = Record(benchmark="b", variant="v", device="cpu", status="measured", detail={"threads": 3})
    assert (made.detail, made.facts.threads) == ({"threads": 3}, None)


@pytest.mark.parametrize(
    ("data", "gated"),
    [
        ({"settings": {"variants": ["v", "w"]}}, True), ({"settings": {"variants": ["w"]}}, False), ({}, False),
        ({"objectives": [{"metric": "m", "op": "<", "limit": 1, "value": None, "verdict": "invalid"}]}, True),
        ({"settings": {"variants": ["w"]}, "gated": True}, True),
    ],
)  # fmt: skip
def test_who_is_gated_follows_from_the_settings_where_it_is_not_said(data, gated):
    assert read(**data).gated is gated
