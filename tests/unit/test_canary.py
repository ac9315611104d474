"""The four pieces of work by which a host is judged."""

from __future__ import annotations

import numpy as np
import pytest

from nightgate.measure import canary
from nightgate.measure.canary import GAP, Canary


@pytest.fixture(scope="module")
def made():
    return Canary()


def test_a_sample_has_one_round_at_least(made):
    found = made.sample(0.0)
    assert len(found.cpu) == len(found.memory) == len(found.cache) == 1
    assert found.cpu[0] > 0.0005, "squares of a hundred thousand numbers take a while"
    assert 0 <= found.lost <= 1 and found.late >= 0 and found.longest_gap >= 0


def test_a_sample_goes_on_for_its_time(made):
    assert len(made.sample(0.5).cpu) > 1


def test_the_work_is_done(made):
    made.sample(0.0)
    assert np.array_equal(made._to, made._from) and made._to[-1] == 1
    assert np.array_equal(made._picked, made._places), "each number is its own place"
    assert len(set(made._picked.tolist())) == 131_072


def test_rates_are_per_byte_and_per_number(made, monkeypatch):
    monkeypatch.setattr(made, "_copy", lambda: 0.5)
    monkeypatch.setattr(made, "_pick", lambda: 0.25)
    found = made.sample(0.0)
    assert found.memory == (2**25 / 0.5,)
    assert found.cache == (0.25 / 131_072,)


def test_gaps_are_what_the_loop_missed(monkeypatch):
    # 0.05 ms pass between two looks at the clock, but 3 ms and 0.15 ms once
    ticks = iter([0, *np.cumsum([50_000, 3_000_000, 50_000, 150_000] + [50_000] * 200).tolist()])
    monkeypatch.setattr(canary.time, "perf_counter_ns", lambda: next(ticks))
    found = canary._spin()
    assert found.asked == 10_000_000
    assert [gap for gap in found.gaps if gap > GAP] == [3_000_000]
    assert max(found.gaps) == 3_000_000 and 150_000 in found.gaps


def test_what_is_lost_is_a_share_of_the_loop(made, monkeypatch):
    monkeypatch.setattr(canary, "_spin", lambda: canary._Spun(12_000_000, [3_000_000, 150_000, 600_000]))
    found = made.sample(0.0)
    assert found.lost == pytest.approx(0.3)
    assert found.longest_gap == 0.003


def test_a_sleep_is_late_by_what_it_took_too_long(made, monkeypatch):
    late = iter([0.001, 0.005, 0.002, 0.004, 0.0025])
    monkeypatch.setattr(canary, "_oversleep", lambda: next(late))
    assert made.sample(0.0).late == 0.0025
