"""Rows on their way into a data set: none is lost, moved or rounded unseen, whatever the blocks and what is left out."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from nightgate.vectors import usable
from nightgate.vectors.copying import Copy, Part
from nightgate.vectors.frame import Frame
from nightgate.vectors.usable import Usable

SHIFTED = Frame(centre=np.array([10.0, 0.1]), exponent=1)


def part(given, left_out=(), stop=None):
    nothing = np.empty(0)
    return Part(given, Usable(stop or len(given), np.array(left_out, np.int64), nothing, nothing, nothing))


def of(dtype):
    return part(np.zeros((1, 2), dtype))


@pytest.mark.parametrize(
    ("left_out", "expected"),
    [
        ([], [(0, [0, 1, 2]), (3, [3, 4, 5]), (6, [6, 7])]),
        ([0, 3, 4, 5], [(0, [1, 2]), (2, []), (2, [6, 7])]),
        ([2, 6], [(0, [0, 1]), (2, [3, 4, 5]), (5, [7])]),
    ],
)
def test_the_usable_rows_come_in_blocks_each_with_how_many_came_before(monkeypatch, left_out, expected):
    monkeypatch.setattr(usable, "BLOCK_BYTES", 3 * 4 * 2)
    given = np.arange(10)[:, None] * np.array([1, 100])
    blocks = [(before, block.tolist()) for before, block in part(given, left_out, stop=8).blocks()]
    assert blocks == [(before, [[row, 100 * row] for row in rows]) for before, rows in expected]


@pytest.mark.parametrize(
    ("dtypes", "kept"),
    [
        (["float32"], None), (["uint8", "float32"], None), (["float64"], np.float64), (["float32", "float64"], np.float64),
        (["float16", "int64"], np.float64), (["int32"], np.int32),
    ],
)  # fmt: skip
def test_what_would_be_rounded_is_kept_beside_in_the_type_of_all_files(dtypes, kept):
    copy = Copy(Frame(), [of(dtype) for dtype in dtypes], (3, 2))
    assert (copy.ready.dtype, copy.ready.shape) == (np.float32, (3, 2))
    assert (copy.original is None) if kept is None else (copy.original.dtype, copy.original.shape) == (kept, (3, 2))


def test_rows_are_put_into_their_places_in_the_frame_and_as_they_were():
    copy = Copy(SHIFTED, [of("float32")], (4, 2))
    copy.put(slice(0, 4), np.zeros((4, 2), np.float32))
    copy.put([2, 0], np.array([[11, 0.1], [14, 3.1]], np.float32))
    assert copy.ready[[0, 2]] == pytest.approx(np.array([[8, 6], [2, 0]]), abs=1e-7)
    assert copy.original.tolist() == np.array([[14, 3.1], [0, 0], [11, 0.1], [0, 0]], np.float32).tolist()
    plain = Copy(Frame(), [of("float32")], (2, 2))
    plain.put(1, np.array([7, 9], np.float32))
    assert plain.ready[1].tolist() == [7, 9]


def test_of_a_block_the_chosen_rows_are_put_from_a_place_on():
    copy = Copy(Frame(), [of("float64")], (9, 1))
    copy.put(slice(0, 9), np.full((9, 1), -1.0))
    chosen = np.array([6, 2, 4, 9, 7, 3])
    copy.pick(np.array([[40.0], [50], [60]]), 4, chosen, into=2)  # rows 4, 5 and 6
    assert copy.ready[:, 0].tolist() == copy.original[:, 0].tolist() == [-1, -1, 60, -1, 40, -1, -1, -1, -1]
    copy.pick(np.array([[70.0], [80]]), 7, chosen, into=2)
    assert copy.ready[:, 0].tolist() == copy.original[:, 0].tolist() == [-1, -1, 60, -1, 40, -1, 70, -1, -1]


def test_a_part_of_it_is_saved_under_its_name(tmp_path):
    copy = Copy(SHIFTED, [of("float64")], (4, 2))
    given = np.array([[11, 0.1], [12, 0.1], [13, 0.1], [14, 0.1]])
    copy.put(slice(0, 4), given)
    copy.save(tmp_path, "tuning", slice(1, 3))
    assert np.load(tmp_path / "tuning.npy").tolist() == [[4, 0], [6, 0]]
    assert np.load(tmp_path / "tuning-original.npy").tolist() == given[1:3].tolist()
    plain = Copy(Frame(), [of("float32")], (2, 2))
    plain.put(slice(0, 2), np.array([[1, 2], [3, 4]], np.float32))
    plain.save(tmp_path, "queries", slice(1, 2))
    assert np.load(tmp_path / "queries.npy").tolist() == [[3, 4]]
    assert not (tmp_path / "queries-original.npy").exists()


@pytest.mark.parametrize("frame", [Frame(), SHIFTED])
def test_large_ones_are_written_into_files(tmp_path, frame):
    files = tmp_path / "base.npy", tmp_path / "base-original.npy"
    copy = Copy(frame, [of("float32")], (2, 2), *files)
    copy.put(slice(0, 2), np.array([[11, 0.1], [12, 0.1]], np.float32))
    copy.flush()
    assert np.load(files[0]).tolist() == copy.ready.tolist() and np.load(files[0]).dtype == np.float32
    assert np.load(files[0])[:, 0].tolist() == ([2, 4] if frame is SHIFTED else [11, 12])
    assert files[1].exists() == (frame is SHIFTED)
    if frame is SHIFTED:
        assert np.load(files[1])[:, 0].tolist() == [11, 12]


def test_both_files_are_flushed():
    copy, seen = Copy(SHIFTED, [of("float32")], (2, 2)), []
    copy.ready = SimpleNamespace(flush=lambda: seen.append("ready"))
    copy.original = SimpleNamespace(flush=lambda: seen.append("original"))
    copy.flush()
    copy.original = None
    copy.flush()
    assert seen == ["ready", "original", "ready"]
