"""What is gathered of a strategy: the estimates belong to the values they stand beside."""

from __future__ import annotations

import numpy as np
import pytest

from nightgate.hybrid_ann.evidence import Evidence
from nightgate.measure import host
from nightgate.record import Record, utc_now


@pytest.fixture
def evidence():
    return Evidence(
        Record(
            benchmark="hybrid_ann", variant="hybrid", device="cpu", status="measured", host=host.describe(),
            settings={}, started_at=utc_now(),
        )
    )  # fmt: skip


def test_no_interval_of_a_recall_goes_beyond_all(evidence):
    answer = {
        "setting": {"lists": 4},
        "reached": True,
        "shortfall": None,
        "curve": [],
        "first_touch_ns": 1,
        "stages": {},
        "versions": {},
    }
    recall = np.r_[np.ones(99), 0.99]
    evidence.add_process(answer, np.arange(1, 301).reshape(3, 100), recall, 1)
    evidence.finish(np.arange(100.0))
    found = evidence.record.metrics
    assert found["recall_at_100"].ci95[0] < found["recall_at_100"].value < found["recall_at_100"].ci95[1] == 1.0
    assert found["recall_hard"].ci95[1] == 1.0


def throughput(evidence, seconds, queries=1000):
    """Passes of ``queries`` queries, each of so many seconds."""
    per_second = queries / np.array(seconds)
    evidence.add_throughput({"per_second": per_second.tolist()}, threads=2, batch=256)
    return evidence.record.metrics["throughput_qps"]


def test_the_throughput_lies_within_its_interval_though_one_pass_was_held_up(evidence):
    found = throughput(evidence, [1.0] * 100 + [200.0])
    assert found.value == pytest.approx(1000 * 101 / 300)
    assert found.ci95 is None or found.ci95[0] <= found.value <= found.ci95[1]
    found = throughput(evidence, [1.0] * 100 + [10.0])
    assert found.ci95[0] < found.value < found.ci95[1]


def test_few_passes_state_no_interval_of_the_throughput(evidence):
    found = throughput(evidence, [1.0, 2.0])
    assert (found.value, found.n, found.ci95) == (pytest.approx(2000 / 3), 2, None)
