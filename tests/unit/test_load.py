"""Load on a clock that moves only when it is told to: every latency is known in advance."""

from __future__ import annotations

import numpy as np
import pytest

from nightgate.measure import load

MS = 1_000_000


class Clock:
    """Time passes only in `wait` and in what the requests say they take."""

    def __init__(self, late: int = 0) -> None:
        self.now, self.late = 5_000 * MS, late  # a clock does not start at nought

    def __call__(self) -> int:
        return self.now

    def wait(self, moment: int) -> None:
        assert moment > self.now, "there is nothing to wait for"
        self.now = moment + self.late

    def serve(self, milliseconds: float) -> None:
        self.now += round(milliseconds * MS)


def run(inputs, *, rate, seconds, seed=7, late=0):
    clock = Clock(late)
    return load.open_loop(clock.serve, inputs, rate=rate, seconds=seconds, seed=seed, clock=clock, wait=clock.wait)


def arriving_at(monkeypatch, *milliseconds):
    monkeypatch.setattr(load, "arrivals", lambda rate, seconds, seed: np.array(milliseconds, dtype=np.int64) * MS)


def test_who_waits_behind_a_slow_request_has_waited(monkeypatch):
    arriving_at(monkeypatch, 10, 20, 30, 200)
    seen = run([100, 5, 5, 5], rate=4, seconds=0.4)
    # served at 10-110, 110-115, 115-120 and 200-205
    assert (seen.latencies_ns / MS).tolist() == [100, 95, 90, 5]
    assert (seen.service_ns / MS).tolist() == [100, 5, 5, 5]
    assert seen.elapsed_ns == 205 * MS
    assert seen.utilisation == 115 / 205
    assert not seen.saturated


def test_the_loops_own_delay_is_told_for_idle_arrivals_alone(monkeypatch):
    arriving_at(monkeypatch, 10, 20, 100)
    seen = run([50, 1, 1], rate=3, seconds=1, late=2 * MS)
    assert (seen.lateness_ns / MS).tolist() == [2, 2], "the second request waited for the first, not for the loop"
    assert (seen.latencies_ns / MS).tolist() == [52, 43, 3]


def test_a_rate_above_capacity_ends_by_itself_and_says_so(monkeypatch):
    arriving_at(monkeypatch, *range(1000))
    seen = run([10], rate=1000, seconds=1)
    assert seen.saturated
    assert seen.arrivals == 1000
    assert len(seen.latencies_ns) == len(seen.service_ns) == 301, "ended by the first answer after three seconds"
    assert seen.elapsed_ns == 3010 * MS
    assert seen.latencies_ns[-1] == (3010 - 300) * MS
    assert seen.utilisation == 1


def test_a_rate_little_above_capacity_is_said_although_all_were_served():
    seen = run([10], rate=120, seconds=5)
    assert len(seen.latencies_ns) == seen.arrivals == 600
    assert seen.saturated
    assert not run([10], rate=80, seconds=5).saturated


def test_waiting_is_what_queueing_theory_says():
    """Poisson arrivals, one server, equal service: the mean wait is ρ/(2(1-ρ)) services (Pollaczek-Khinchine)."""
    for busy in (0.3, 0.6, 0.8):
        seen = run([1], rate=1000 * busy, seconds=60_000 / (1000 * busy))
        waits = (seen.latencies_ns - seen.service_ns) / MS
        assert waits.mean() == pytest.approx(busy / (2 * (1 - busy)), rel=0.1)
        assert seen.utilisation == pytest.approx(busy, rel=0.01)


def test_inputs_are_taken_in_turn(monkeypatch):
    arriving_at(monkeypatch, 100, 200, 300, 400, 500)
    assert (run([1, 2], rate=5, seconds=1).service_ns / MS).tolist() == [1, 2, 1, 2, 1]


def test_arrivals_are_a_poisson_process_at_the_asked_rate():
    moments = load.arrivals(rate=200, seconds=50, seed=3)
    assert moments.dtype == np.int64 and len(moments) == 10_000
    assert moments[0] >= 0 and moments[-1] <= 50e9
    gaps = np.diff(moments) / 1e9
    assert (gaps >= 0).all()
    assert gaps.mean() == pytest.approx(1 / 200, rel=0.01)
    assert gaps.std() == pytest.approx(1 / 200, rel=0.05), "exponential gaps spread as wide as their mean"
    assert (gaps > 1 / 200).mean() == pytest.approx(np.exp(-1), abs=0.02)


def test_arrivals_are_repeatable_and_seeded():
    assert np.array_equal(load.arrivals(100, 2, seed=1), load.arrivals(100, 2, seed=1))
    assert not np.array_equal(load.arrivals(100, 2, seed=1), load.arrivals(100, 2, seed=2))
    assert len(load.arrivals(0.01, 1, seed=1)) == 1, "there is always one"


def test_waiting_sleeps_first_and_never_returns_early():
    now, slept = [0], []

    def clock():
        now[0] += 100_000  # each look at the clock takes 0.1 ms
        return now[0]

    def sleep(seconds):
        slept.append(seconds)
        now[0] += round(seconds * 1e9)

    load.wait_until(50 * MS, clock=clock, sleep=sleep)
    assert slept == [pytest.approx(0.0489)], "the last millisecond is not slept"
    assert 50 * MS <= now[0] <= 50.2 * MS
    load.wait_until(50 * MS, clock=clock, sleep=sleep)
    assert len(slept) == 1, "a moment that is over is not waited for"


def test_the_real_clock_runs_the_same_loop():
    seen = load.open_loop(lambda _: None, ["x"], rate=500, seconds=0.05, seed=1)
    assert len(seen.latencies_ns) == 25
    assert (seen.latencies_ns >= seen.service_ns).all()
    assert (seen.lateness_ns >= 0).all() and len(seen.lateness_ns) >= 1


@pytest.mark.parametrize("wrong", [{"inputs": []}, {"rate": 0}, {"seconds": 0}])
def test_an_open_loop_needs_something_to_do(wrong):
    with pytest.raises(ValueError, match="needs inputs"):
        run(**{"inputs": [1], "rate": 1, "seconds": 1} | wrong)


def closed(batches, seconds):
    clock = Clock()
    return load.closed_loop(lambda batch: clock.serve(sum(batch)), batches, seconds, clock=clock)


def test_a_closed_loop_counts_calls_per_second():
    seen = closed([[2, 2, 2], [4]], 0.025)
    assert seen.durations_ns.dtype == np.int64
    assert (seen.durations_ns / MS).tolist() == [[6, 4]] * 3, "a pass that has begun is finished"
    assert seen.sizes.tolist() == [3, 1]
    assert seen.per_second == pytest.approx(400)


def test_a_closed_loop_makes_one_whole_pass_at_least():
    assert (closed([[5], [500], [7]], 0.001).durations_ns / MS).tolist() == [[5, 500, 7]]
    assert closed([[5]], 0).durations_ns.shape == (1, 1)
    with pytest.raises(ValueError, match="at least one batch"):
        closed([], 1)


def test_what_is_asked_for_is_what_is_scheduled(monkeypatch):
    asked = []
    monkeypatch.setattr(load, "arrivals", lambda *of: asked.append(of) or np.array([MS], dtype=np.int64))
    run([1], rate=3, seconds=0.5, seed=11)
    assert asked == [(3, 0.5, 11)]


def test_a_request_that_comes_as_the_last_ends_is_not_waited_for(monkeypatch):
    arriving_at(monkeypatch, 10, 40, 60)
    seen = run([30, 5, 5], rate=3, seconds=1, late=1 * MS)
    # served at 11-41 although due at 10, then 41-46, then 61-66
    assert (seen.latencies_ns / MS).tolist() == [31, 6, 6]
    assert (seen.lateness_ns / MS).tolist() == [1, 1]
    arriving_at(monkeypatch, 10, 40)
    exact = run([30, 5], rate=2, seconds=1)
    assert (exact.lateness_ns / MS).tolist() == [0], "nothing was waited for: the loop began it the moment it was due"


def test_a_loop_is_given_up_only_after_three_times_its_length(monkeypatch):
    arriving_at(monkeypatch, 0, 10, 20)
    on_time = run([2990, 10, 5], rate=0.001, seconds=1)  # the second answer comes at exactly three seconds
    assert len(on_time.latencies_ns) == 3 and not on_time.saturated
    late = run([2991, 10, 5], rate=0.001, seconds=1)
    assert len(late.latencies_ns) == 2 and late.saturated, "one was never served"
    assert load.PATIENCE == 3


def test_it_is_saturated_from_one_second_of_work_per_second_on(monkeypatch):
    arriving_at(monkeypatch, 0, 500)
    assert run([500, 500], rate=2, seconds=1).saturated
    assert run([400, 600], rate=2, seconds=1).saturated, "by the mean, not by the worst or the last"
    assert not run([400, 599], rate=2, seconds=1).saturated


def test_samples_of_an_open_loop_are_whole_nanoseconds(monkeypatch):
    arriving_at(monkeypatch, 1, 2)
    seen = run([3], rate=2, seconds=1)
    arriving_at(monkeypatch, 0)
    never_idle = run([3], rate=1, seconds=1)
    assert len(never_idle.lateness_ns) == 0
    for of in (seen, never_idle):
        assert {samples.dtype for samples in (of.latencies_ns, of.service_ns, of.lateness_ns)} == {np.dtype(np.int64)}


def test_moments_of_arrival_are_these():
    # ten gaps of numpy's PCG64 at seed 3, scaled so that the tenth would end at two seconds
    gaps = np.random.default_rng(3).exponential(size=10)
    assert load.arrivals(4.5, 2, seed=3).tolist() == [int(x) for x in np.cumsum(gaps)[:9] / np.sum(gaps) * 2e9]
    assert [len(load.arrivals(rate, 3, seed=1)) for rate in (0.1, 0.4, 0.6, 1)] == [1, 1, 2, 3]


def test_the_last_millisecond_is_spun_and_no_more():
    slept, looks = [], iter([0, 10 * MS])
    load.wait_until(5 * MS, clock=lambda: next(looks), sleep=slept.append)
    assert slept == [0.004]
    looks = iter([0, MS + 1])
    load.wait_until(MS + 1, clock=lambda: next(looks), sleep=slept.append)
    assert slept.pop() == 1e-9
    looks = iter([0, MS])
    load.wait_until(MS, clock=lambda: next(looks), sleep=slept.append)
    assert slept == [0.004], "what is a millisecond away is not slept for"
    looks = iter([4 * MS, 5 * MS - 1, 5 * MS, 6 * MS])
    load.wait_until(5 * MS, clock=lambda: next(looks), sleep=slept.append)
    assert next(looks) == 6 * MS, "it returned at the moment itself"


def test_each_throughput_is_over_all_passes():
    durations = np.array([[10, 40], [30, 20], [50, 50]]) * MS  # 200 ms for three passes of nine calls
    assert load.Throughput(durations, np.array([4, 5])).per_second == pytest.approx(135)


def test_a_closed_loop_begins_no_pass_when_the_time_is_up():
    assert (closed([[5], [10]], 0.015).durations_ns / MS).tolist() == [[5, 10]]
    assert (closed([[5], [10]], 0.0151).durations_ns / MS).tolist() == [[5, 10]] * 2
    assert closed([[5], [10]], 0.0151).sizes.dtype == np.int64
