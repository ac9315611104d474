"""Calls in blocks with the kernel beside them: which call has which state of the host, and what is made of those alike."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t

from nightgate.measure import blocks, clock, pace
from nightgate.measure.precision import half_width, students_t


class Host:
    """A clock on which each call takes as many ns as its number says, and each reading of the kernel what it is told."""

    def __init__(self, monkeypatch, kernels=()) -> None:
        self.now, self.done, kernels = 5, [], iter(kernels)

        def kernel():
            self.done.append("kernel")
            return next(kernels)

        monkeypatch.setattr(clock, "perf_counter_ns", lambda: self.now)
        monkeypatch.setattr(blocks, "kernel", kernel)

    def __call__(self, number):
        self.done.append(number)
        self.now += number
        return -number


def test_each_call_knows_the_slower_of_the_readings_around_its_block(monkeypatch):
    host = Host(monkeypatch, [7, 3, 9, 4])
    found = blocks.time_blocks(host, np.array([10, 20, 30, 40, 50]), 2)
    assert host.done == ["kernel", 10, 20, "kernel", 30, 40, "kernel", 50, "kernel"], "one reading serves two blocks"
    assert (found.durations.dtype, found.durations.tolist()) == (np.int64, [10, 20, 30, 40, 50])
    assert (found.beside.dtype, found.beside.tolist()) == (np.int64, [7, 7, 9, 9, 9])
    assert found.answers == [-10, -20, -30, -40, -50]


def test_the_kernel_is_a_computation_between_two_readings_of_the_clock(monkeypatch):
    moments = iter([100, 350])
    monkeypatch.setattr(blocks, "perf_counter_ns", lambda: next(moments))
    assert blocks.kernel() == 250


@pytest.mark.parametrize(
    ("usual", "size"),
    [(150_000, 10), (100_000, 15), (70_000, 20), (1_000, 20), (1_100_000, 1), (20_000_000, 1), (0, 20)],
)
def test_a_block_lasts_as_long_as_it_can_at_one_state_of_the_host(usual, size):
    assert blocks.size_for(np.array([[usual, usual, 90_000_000]])) == size, "by the median"


def test_no_single_reading_says_how_fast_a_host_can_be():
    beside = np.r_[50, np.arange(200, 399)]
    assert 200 <= blocks.fastest(beside) <= 203
    assert blocks.fast(np.array([[100, 125], [126, 99]]), 100).tolist() == [[True, True], [False, True]]


def test_passes_are_put_together_from_the_calls_that_are_alike():
    durations = np.arange(12).reshape(4, 3)
    chosen = np.array([[0, 1, 1], [1, 1, 0], [0, 0, 1], [1, 1, 1]], bool)
    # chosen of the first input: 3 and 9; of the second 1, 4 and 10; of the third 2, 8 and 11
    assert blocks.alike(durations, chosen).tolist() == [[3, 1, 2], [9, 4, 8]]
    assert blocks.alike(durations, np.ones((4, 3), bool)).tolist() == durations.tolist()
    assert blocks.alike(durations, durations != 0).tolist()[0] == [3, 1, 2]
    assert blocks.alike(durations, durations < 0).shape == (0, 3)


def test_what_repeating_cannot_make_smaller_is_in_no_half_width():
    rng = np.random.default_rng(3)
    inputs = rng.integers(1_000, 90_000, 300)
    assert half_width(np.tile(inputs, (6, 1))) == 0.0, "the inputs differ, the passes do not"
    levels = np.array([1.0, 1.02, 0.97, 1.05, 1.01, 0.99])
    passes = np.round(inputs * levels[:, None] * 1000).astype(np.int64)
    expected = np.expm1(t.ppf(0.975, 5) * np.log(levels).std(ddof=1) / 6**0.5)
    assert half_width(passes) == pytest.approx(expected, rel=5e-3)
    assert half_width(passes[:4]) is None and half_width(np.empty((6, 0), np.int64)) is None


def test_the_wider_of_the_two_quantiles_decides():
    steady = np.tile(np.arange(100, 200), (8, 1))
    tail = steady.copy()
    tail[:, 95:] += np.arange(8)[:, None] * 40  # of the slowest twentieth alone
    assert half_width(steady) == 0.0
    assert half_width(tail) > 0.1


@pytest.mark.parametrize("free", [4, 5, 9, 30, 200])
def test_students_t_is_near_enough(free):
    assert students_t(0.975, free) == pytest.approx(t.ppf(0.975, free), rel=5e-3)


# the pace of a host


def test_the_pace_of_a_host_is_kept_for_thirty_measurements(tmp_path):
    assert pace.known(tmp_path) == []
    folder = tmp_path / "home"
    for number in range(1, 33):
        kept = pace.remember(folder, 100.0 + number)
    assert kept == pace.known(folder) == [100.0 + number for number in range(3, 33)]


def test_another_host_or_interpreter_has_a_pace_of_its_own(tmp_path, monkeypatch):
    pace.remember(tmp_path, 100.0)
    monkeypatch.setattr(pace.platform, "python_version", lambda: "9.9.9")
    assert pace.known(tmp_path) == []
    assert pace.remember(tmp_path, 70.0) == [70.0]
    monkeypatch.undo()
    assert pace.known(tmp_path) == [100.0]


@pytest.mark.parametrize("content", ["{", "[]", '{"a": 1}', '{"a": ["x"]}', "null"])
def test_a_pace_that_cannot_be_read_is_learned_anew(tmp_path, caplog, content):
    (tmp_path / "pace.json").write_text(content)
    assert pace.known(tmp_path) == []
    assert "pace is learned anew" in caplog.text
    assert pace.remember(tmp_path, 5.0) == [5.0]
