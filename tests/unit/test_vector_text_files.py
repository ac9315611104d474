"""Vectors as text and as Parquet: every layout people write, and how each refuses what it is not."""

from __future__ import annotations

import importlib.util

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nightgate.errors import InputError
from nightgate.vectors.files import delimited, open_vectors, parquet

FLOATS = np.random.default_rng(0).standard_normal((7, 3)).astype("<f4")
LINES = ["0.5,-1.25,3e2", "1,2,4", "0,0.1,-7"]
VALUES = [[0.5, -1.25, 300], [1, 2, 4], [0, 0.1, -7]]


def text(path, lines, end="\n", encoding="utf-8"):
    path.write_bytes((end.join(lines) + end).encode(encoding))
    return path


def refusal(call, path):
    with pytest.raises(InputError) as caught:
        call()
    assert str(path) in caught.value.what
    assert caught.value.next_step
    assert str(caught.value).isprintable()
    return caught.value.what


def read(path):
    rows = open_vectors(path)
    return rows[0 : rows.shape[0]]


def separated(by):
    return [line.replace(",", by) for line in LINES]


@pytest.mark.parametrize(
    "lines, options",
    [
        (LINES, {}),
        (separated(";"), {}),
        (separated("\t"), {}),
        (separated("|"), {}),
        (separated(" "), {}),
        (separated(",  "), {}),
        (["a,b,c", *LINES], {}),
        (['"a","b","c"', *LINES], {}),
        (["0,1,2", *LINES], {}),
        (["1,2,3", *LINES], {}),
        (['"0.5","-1.25","3e2"', *LINES[1:]], {}),
        (LINES, {"end": "\r\n"}),
        (LINES, {"encoding": "utf-8-sig"}),
        (["größe;b;c", *separated(";")], {}),
        ([*LINES, "", "  "], {}),
        (["x,y,2", *LINES], {"encoding": "utf-8-sig", "end": "\r\n"}),
    ],
)
@pytest.mark.parametrize("name", ["a.csv", "B.TSV"])
def test_a_text_gives_its_numbers_with_or_without_names_and_whatever_separates_them(tmp_path, lines, options, name):
    path = text(tmp_path / name, lines, **options)
    rows = open_vectors(path)
    assert (rows.shape, rows.dtype) == ((3, 3), np.float64)
    assert rows[0:3].tolist() == VALUES
    assert rows[1:2].tolist() == VALUES[1:2]


def test_a_last_line_needs_no_end_and_one_number_makes_a_vector(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"1.5,2\n3,4")
    assert read(path).tolist() == [[1.5, 2], [3, 4]]
    path.write_bytes(b"7\n")
    assert read(path).tolist() == [[7]]
    path.write_bytes(b"nan,inf\n-inf,1\n")
    assert np.array_equal(read(path), [[np.nan, np.inf], [-np.inf, 1]], equal_nan=True)


@pytest.mark.parametrize(
    "lines, said",
    [
        ([*LINES, "1,2"], "row 3 of {} (the first is 0) holds 2 values, the first line has 3"),
        (["a,b,c", *LINES, "1,2,3,4"], "row 3 of {} (the first is 0) holds 4 values, the first line has 3"),
        ([LINES[0], "1,x,4", LINES[2]], "row 1 of {} (the first is 0) holds 'x', which is no number in column 1"),
        ([LINES[0], "1,,4"], "row 1 of {} (the first is 0) holds nothing in column 1"),
        ([LINES[0], "1,1_0,4"], "row 1 of {} (the first is 0) holds '1_0', which is no number"),
        ([LINES[0], "", LINES[1]], "row 1 of {} (the first is 0) is an empty line"),
        (["0,5;1,5", "0,25;2,5"], "row 0 of {} (the first is 0) holds '0,25', which is no number"),
        (['id,"[0.1, 0.2]"', 'x,"[0.1, 0.2]"'], "row 0 of {} (the first is 0) holds 'x', which is no number"),
        ([",0,1", "0,0.5,0.25"], "the first column of {} has no name"),
        (["a,b"], "{} holds no vector: its first line begins with 'a'"),
        ([""], "begins with an empty line"),
    ],
)
def test_a_text_that_holds_something_else_is_refused_with_the_row(tmp_path, lines, said):
    path = text(tmp_path / "a.csv", lines)
    assert said.format(path) in refusal(lambda: read(path), path)


@pytest.mark.parametrize(
    "content, said",
    [
        (b"", "is empty"),
        ("1,2\n3,4\n".encode("utf-16"), "is no text in UTF-8"),
        (b"1,2\n\xff\xfe,3\n", "is no text in UTF-8"),
        (b"\x00" * 64, "is no text of one vector per line"),
        (b"PAR1" + bytes(range(1, 100)), "is"),
    ],
)
def test_what_is_no_text_is_refused(tmp_path, content, said):
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    assert said in refusal(lambda: read(path), path)


def test_a_line_without_end_is_not_read_to_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr(delimited, "_LONGEST_LINE", 100)
    path = text(tmp_path / "a.csv", ["1," * 100])
    assert "is no text of one vector per line" in refusal(lambda: open_vectors(path), path)


def test_text_is_read_a_little_at_a_time_and_counted_over_the_edges_of_blocks(tmp_path, monkeypatch):
    values = np.arange(120.0).reshape(40, 3) / 7
    path = text(tmp_path / "a.csv", [",".join(map(repr, row)) for row in values.tolist()] + ["", ""])
    monkeypatch.setattr(delimited, "_BYTES", 100)
    for block in (1, 2, 3, 50, 10**6):
        monkeypatch.setattr(delimited, "_BLOCK", block)
        rows = open_vectors(path)
        assert rows.shape == (40, 3)
    # forward, over gaps, and back to the start
    for start, stop in [(0, 1), (1, 4), (10, 31), (5, 8), (8, 40), (40, 40), (39, 40)]:
        assert np.array_equal(rows[start:stop], values[start:stop])


def test_a_text_that_becomes_shorter_is_refused(tmp_path):
    path = text(tmp_path / "a.csv", LINES)
    rows = open_vectors(path)
    text(path, LINES[:2])
    assert "became shorter" in refusal(lambda: rows[0:3], path)


def table(path, columns, **options):
    pq.write_table(pa.table(columns), path, **options)
    return path


def lists(kind, size=-1, values=FLOATS):
    return pa.array([row.tolist() for row in values], pa.list_(kind, size))


PARQUET = {
    "list": ({"v": lists(pa.float32())}, np.float32),
    "double": ({"v": lists(pa.float64())}, np.float64),
    "large": ({"v": lists(pa.float32()).cast(pa.large_list(pa.float32()))}, np.float32),
    "fixed": ({"v": lists(pa.float32(), 3)}, np.float32),
    "beside an id": ({"id": list(range(7)), "text": list("abcdefg"), "emb": lists(pa.float32(), 3)}, np.float32),
    "columns": ({f"c{i}": FLOATS[:, i] for i in range(3)}, np.float32),
    "mixed": ({"a": FLOATS[:, 0], "b": FLOATS[:, 1].astype("f8"), "c": FLOATS[:, 2]}, np.float64),
}


@pytest.mark.parametrize("layout", PARQUET)
@pytest.mark.parametrize("group", [2, 100])
def test_parquet_gives_its_vectors_from_lists_or_columns(tmp_path, monkeypatch, layout, group):
    columns, dtype = PARQUET[layout]
    path = table(tmp_path / "a.parquet", columns, row_group_size=group)
    monkeypatch.setattr(parquet, "_VALUES", 9)  # three rows at a time
    rows = open_vectors(path)
    assert (rows.shape, rows.dtype) == ((7, 3), dtype)
    for start, stop in [(0, 7), (2, 5), (5, 6), (1, 2), (3, 3)]:
        assert rows[start:stop].tolist() == FLOATS[start:stop].tolist()


def test_parquet_of_bytes_and_halves(tmp_path):
    whole = np.array([[1, 200], [3, 4]], np.uint8)
    path = table(tmp_path / "a.parquet", {"v": lists(pa.uint8(), values=whole)})
    assert (open_vectors(path).dtype, read(path).tolist()) == (np.uint8, whole.tolist())
    half = FLOATS.astype(np.float16)
    path = table(tmp_path / "a.parquet", {"v": pa.FixedSizeListArray.from_arrays(pa.array(half.ravel()), 3)})
    assert (open_vectors(path).dtype, read(path).tolist()) == (np.float16, half.tolist())


@pytest.mark.parametrize(
    "columns, said",
    [
        ({"a": lists(pa.float32()), "b": lists(pa.float32())}, "has several columns of lists: 'a', 'b'"),
        ({"id": list(range(7)), "x": FLOATS[:, 0]}, "its column 'id' is int64"),
        ({"t": list("abcdefg")}, "its column 't' is string"),
        ({"v": pa.array([["a"], ["b"]])}, "holds lists of string in its column 'v'"),
        ({"v": pa.array([[1, 2], [3, 4]], pa.list_(pa.int64()))}, "holds lists of int64"),
        ({"v": pa.array([[1.0, 2.0], [3.0]])}, "row 1 of {} (the first is 0) holds 1 values, row 0 has 2"),
        ({"v": pa.array([[1.0, 2.0], None])}, "row 1 of {} (the first is 0) is empty (null)"),
        ({"v": pa.array([[1.0, 2.0], [3.0, None]])}, "row 1 of {} (the first is 0) lacks a value (null)"),
        ({"v": pa.array([None, [1.0]])}, "row 0 of {} (the first is 0) holds no values"),
        ({"v": pa.array([[], [1.0]])}, "row 0 of {} (the first is 0) holds no values"),
        ({"x": pa.array([1.0, 2.0]), "y": pa.array([1.0, None])}, "row 1 of {} (the first is 0) lacks a value"),
        ({"v": pa.array([], pa.list_(pa.float32()))}, "is empty: it holds 0 vectors"),
    ],
)
def test_parquet_that_holds_something_else_is_refused(tmp_path, columns, said):
    path = table(tmp_path / "a.parquet", columns)
    assert said.format(path) in refusal(lambda: read(path), path)


def test_damaged_parquet_is_refused(tmp_path):
    path = table(tmp_path / "a.parquet", PARQUET["list"][0])
    whole = path.read_bytes()
    for data in (b"", b"PAR1", whole[:-1], whole[:50], whole[:4] + bytes(len(whole) - 8) + whole[-4:]):
        path.write_bytes(data)
        assert "cannot be read as Parquet" in refusal(lambda: read(path), path)
    dice = np.random.default_rng(0)
    for _ in range(200):
        data = bytearray(whole)
        data[dice.integers(len(data))] ^= 1 << dice.integers(8)
        path.write_bytes(bytes(data))
        try:
            read(path)
        except InputError as error:
            assert str(error).isprintable()


def test_without_pyarrow_the_line_that_installs_it_is_said(tmp_path, monkeypatch):
    path = table(tmp_path / "a.parquet", PARQUET["list"][0])
    found = importlib.util.find_spec
    monkeypatch.setattr(parquet, "find_spec", lambda name: None if name == "pyarrow" else found(name))
    with pytest.raises(InputError, match="the package pyarrow is needed. Next step: install it: pip install pyarrow"):
        open_vectors(path)
