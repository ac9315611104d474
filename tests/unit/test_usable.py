"""Which rows can be compared: every one is looked at, whatever the blocks, and what is said of them is exact."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nightgate.errors import InputError
from nightgate.vectors import usable
from nightgate.vectors.usable import Usable, block_length, look

FILE = Path("/a/file.npy")
TOO_LONG = "is too long to be compared in float32"
MEND = "Next step: mend or remove such rows"


@pytest.fixture(autouse=True)
def _blocks_of_four_rows(monkeypatch):
    monkeypatch.setattr(usable, "BLOCK_BYTES", 4 * 4 * 2)


def rows(count):
    """Two columns: the number of the row, from 1 on, and a falling one."""
    return np.stack([np.arange(1, count + 1), 50 - 7 * np.arange(count)], axis=1).astype(np.float32)


def test_a_block_is_of_so_many_bytes_of_float32_and_of_one_row_at_least(monkeypatch):
    assert (block_length(2), block_length(3), block_length(5)) == (4, 2, 1)
    monkeypatch.undo()
    assert (block_length(8), block_length(2**23), block_length(2**24)) == (2**20, 1, 1)
    assert (usable.LARGEST_SQUARE, usable._SAMPLE, usable._NAMED) == (1e37, 4096, 5)


def test_what_is_left_out_is_neither_counted_nor_numbered():
    found = Usable(7, np.array([1, 4]), *3 * [np.empty(0)])
    assert found.count == 5
    assert (found.rows.dtype, found.rows.tolist()) == (np.int64, [0, 2, 3, 5, 6])


@pytest.mark.parametrize("metric", ["l2", "ip", "cosine"])
def test_bounds_and_sample_come_from_all_of_it(monkeypatch, metric):
    monkeypatch.setattr(usable, "_SAMPLE", 3)
    given = rows(11)
    given[[1, 6, 9], 0] = [-90, 33, 99]
    found = look(given, FILE, 100, metric, skip_zero=False)
    assert (found.stop, found.left_out.dtype, found.left_out.tolist()) == (11, np.int64, [])
    assert (found.lowest.tolist(), found.highest.tolist()) == ([-90, -20], [99, 50])
    assert found.sample.tolist() == given[::3].tolist(), "every third, over the borders of the blocks"
    assert {found.lowest.dtype, found.highest.dtype, found.sample.dtype} == {np.dtype(np.float64)}


def test_no_more_is_looked_at_than_is_wanted(monkeypatch):
    monkeypatch.setattr(usable, "_SAMPLE", 3)
    given = rows(12)
    given[6:] = np.nan
    found = look(given, FILE, 6, "l2", skip_zero=False)
    assert (found.stop, found.count) == (6, 6)
    assert found.sample.tolist() == given[:6:2].tolist()
    monkeypatch.setattr(usable, "_SAMPLE", 4096)
    assert look(given, FILE, 6, "l2", skip_zero=False).sample.tolist() == given[:6].tolist()


def test_zero_rows_are_left_out_when_asked_and_others_taken_for_them():
    given = rows(12)
    given[[0, 5, 6]] = 0
    found = look(given, FILE, 7, "cosine", skip_zero=True)
    assert (found.stop, found.left_out.tolist(), found.count) == (10, [0, 5, 6], 7)
    assert found.left_out.dtype == np.int64
    assert found.rows.tolist() == [1, 2, 3, 4, 7, 8, 9]
    every = look(given, FILE, 50, "cosine", skip_zero=True)
    assert (every.stop, every.count) == (12, 9)


@pytest.mark.parametrize("metric", ["l2", "ip"])
def test_a_zero_row_has_distances_and_products(metric):
    assert look(np.zeros((3, 2)), FILE, 3, metric, skip_zero=True).left_out.tolist() == []


@pytest.mark.parametrize("metric", ["l2", "ip"])
def test_a_row_is_too_long_from_the_largest_square_on(monkeypatch, metric):
    monkeypatch.setattr(usable, "LARGEST_SQUARE", 25)
    assert look(np.array([[3, 3.9], [-4.9, 0]]), FILE, 2, metric, skip_zero=False).count == 2
    with pytest.raises(InputError) as caught:
        look(np.array([[3, 3.9], [3, 4]]), FILE, 2, metric, skip_zero=False)
    assert str(caught.value) == f"row 1 of {FILE} (the first is 0) {TOO_LONG}. {MEND}"


def test_a_square_that_leaves_float64_is_too_long_without_a_warning():
    with np.errstate(all="raise"), pytest.raises(InputError, match=f"row 1 .* {TOO_LONG}"):
        look(np.array([[1, 1], [1e200, -1e200]]), FILE, 2, "l2", skip_zero=False)


def test_under_cosine_no_row_is_too_long():
    assert look(np.array([[1e300, 0], [0, 1e-300]]), FILE, 2, "cosine", skip_zero=False).count == 2


@pytest.mark.parametrize("metric", ["l2", "ip", "cosine"])
@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([np.nan, 1], "holds NaN"), ([np.inf, np.nan], "holds NaN"), ([1, np.inf], "holds an infinity"),
        ([-np.inf, 0], "holds an infinity"),
    ],
)  # fmt: skip
def test_what_is_no_number_is_named(metric, values, reason):
    given = rows(7)
    given[5] = values
    with pytest.raises(InputError) as caught:
        look(given, FILE, 7, metric, skip_zero=True)
    assert str(caught.value) == f"row 5 of {FILE} (the first is 0) {reason}. {MEND}"


def test_zero_rows_under_cosine_may_be_left_out_says_the_refusal():
    given = rows(9)
    given[[3, 8]] = 0
    with pytest.raises(InputError) as caught:
        look(given, FILE, 9, "cosine", skip_zero=False)
    assert str(caught.value) == (
        f"row 3 of {FILE} (the first is 0) is zero, which has no direction and so no cosine; 2 such rows in all: 3, 8. "
        f"{MEND}, or leave them out with skip_zero_rows=true"
    )


def test_all_of_each_kind_are_counted_and_five_are_named():
    given = rows(20)
    given[[2, 4, 7, 9, 10, 19]] = np.nan
    given[[0, 5, 11, 12, 13], 1] = np.inf
    given[3] = 0
    with pytest.raises(InputError) as caught:
        look(given, FILE, 20, "cosine", skip_zero=False)
    assert str(caught.value) == (
        f"row 0 of {FILE} (the first is 0) holds an infinity; 5 such rows in all: 0, 5, 11, 12, 13; "
        f"row 2 of {FILE} (the first is 0) holds NaN; 6 such rows in all: 2, 4, 7, 9, 10, …; "
        f"row 3 of {FILE} (the first is 0) is zero, which has no direction and so no cosine. {MEND}"
    )
