"""What goes over the wire when a table is loaded, and what may be asked of the benchmark."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from pydantic import ValidationError

from nightgate.pgvector_search import loading, timed
from nightgate.pgvector_search.settings import Settings


def decode(data: bytes, element: str) -> list[tuple[int, list[float]]]:
    """Rows of a binary COPY by PostgreSQL's documentation, field by field."""
    rows, at = [], 0
    size = struct.calcsize(element)
    while at < len(data):
        fields, id_size, row_id, vec_size = struct.unpack_from(">hiii", data, at)
        at += 14
        dim, unused = struct.unpack_from(">hh", data, at)
        assert (fields, id_size, unused, vec_size) == (2, 4, 0, 4 + dim * size)
        rows.append((row_id, list(struct.unpack_from(f">{dim}{element}", data, at + 4))))
        at += vec_size
    assert at == len(data)
    return rows


@pytest.mark.parametrize(("element", "letter"), [(">f4", "f"), (">f2", "e")])
def test_binary_rows_decode_to_the_vectors(element, letter):
    vectors = np.array([[0.5, -0.25, 1.0], [3.1415927, 0.0, -1e-3]], dtype=np.float32)
    rows = decode(loading.encode_rows(70_000, vectors, element), letter)
    assert [row_id for row_id, _ in rows] == [70_000, 70_001]
    np.testing.assert_array_equal([vector for _, vector in rows], vectors.astype(element))


def test_blocks_are_the_rows_one_after_another():
    vectors = np.random.default_rng(1).standard_normal((7, 8), dtype=np.float32)
    whole = loading.encode_rows(0, vectors, ">f4")
    assert loading.encode_rows(0, vectors[:4], ">f4") + loading.encode_rows(4, vectors[4:], ">f4") == whole


def test_a_table_is_named_by_its_contents():
    names = {
        loading.Table(variant, digest, lists).name
        for variant in Settings.known_variants for digest in ("aa", "bb") for lists in (10, 100)
    }  # fmt: skip
    assert len(names) == 8


def test_names_fit_postgresql_and_are_quoted():
    table = loading.Table("ivfflat_halfvec", "f" * 20, 32_768)
    assert max(len(table.index), len(f"{table.name}_loading")) <= 63
    hostile = loading.Table("ivfflat", 'x"; DROP TABLE y; --', 1)
    assert hostile.identifier().as_string(None) == '"nightgate_bench"."ivfflat_x""; DROP TABLE y; --_1"'


def test_more_lists_than_rows_are_refused():
    with pytest.raises(ValidationError, match="lists=2000 is more than rows=1000"):
        Settings(variants=("ivfflat",), rows=1000, lists=2000)


def test_the_tuning_margin_shrinks_with_queries_and_leaves_the_target_reachable():
    assert timed._margin(0.9, 10_000) < timed._margin(0.9, 200) < 0.1
    assert timed._margin(1.0, 100) == 0
    assert 0.99 + timed._margin(0.99, 100) < 1
