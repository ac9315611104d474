"""Figures as one says them."""

from __future__ import annotations

import pytest
from support.specs import all_specs

from nightgate.publish import figures
from nightgate.record import Metric, Objective


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0012, "seconds", "1.20 ms"), (0.0009999, "seconds", "1.00 ms"), (3.4e-7, "seconds", "340 ns"), (2.3, "seconds", "2.30 s"),
        (200, "seconds", "3 min 20 s"), (7300, "seconds", "2 h 1 min"), (1_150_000_000, "bytes", "1.15 GB"), (0, "bytes", "0 B"),
        (12_345.6, "per_second", "12,346 /s"), (0.951, "ratio", "0.951"), (0.9996, "ratio", "0.9996"), (1.0, "ratio", "1.00"),
        (0.083, "ratio", "0.0830"), (99.99, "ratio", "100"), (0.0, "ratio", "0"), (1e-9, "ratio", "0.00000000100"),
    ],
)  # fmt: skip
def test_figures_read_as_one_says_them(value, unit, text):
    assert figures.human(value, unit) == text


def test_an_interval_names_its_unit_once():
    assert figures.interval(Metric(value=0.001, unit="seconds", n=9, ci95=(0.0009, 0.0012))) == "900 µs – 1.20 ms"
    assert figures.interval(Metric(value=0.001, unit="seconds", n=9, ci95=(0.0011, 0.0012))) == "1.10 – 1.20 ms"
    assert figures.interval(Metric(value=0.001, unit="seconds", n=1)) is None


@pytest.mark.parametrize(
    ("metric", "op", "limit", "value", "used"),
    [
        ("latency_p95", "<", 0.02, 0.005, 0.25),
        ("recall_at_100", ">=", 0.92, 0.96, 0.5),
        ("recall_at_100", ">=", 0.92, 1.0, 0.0),
        ("qps", ">=", 100.0, 200.0, 0.5),
        ("latency_p95", "<", 0.02, None, None),
        ("latency_p95", "<", 0.0, 0.1, None),
    ],
)
def test_how_much_of_a_limit_is_used(metric, op, limit, value, used):
    objective = Objective(metric=metric, op=op, limit=limit, value=value, verdict="pass")
    found = figures.used(objective, value, all_specs()[metric])
    assert found == (None if used is None else pytest.approx(used))
