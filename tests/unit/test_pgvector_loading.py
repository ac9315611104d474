"""What goes over the wire when a table is loaded, and what may be asked of the benchmark."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from pydantic import ValidationError
from support.scripted_pg import table

from nightgate.pgvector_search.copying import encode_rows
from nightgate.pgvector_search.settings import Settings
from nightgate.pgvector_search.variants import MOST_DIMENSIONS, SINCE, VARIANTS, Variant, over_float32, too_long


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
    rows = decode(encode_rows(70_000, vectors, element), letter)
    assert [row_id for row_id, _ in rows] == [70_000, 70_001]
    np.testing.assert_array_equal([vector for _, vector in rows], vectors.astype(element))


def test_blocks_are_the_rows_one_after_another():
    vectors = np.random.default_rng(1).standard_normal((7, 8), dtype=np.float32)
    whole = encode_rows(0, vectors, ">f4")
    assert encode_rows(0, vectors[:4], ">f4") + encode_rows(4, vectors[4:], ">f4") == whole


def test_a_table_is_named_by_its_contents():
    names = {
        table(variant, lists, digest).name
        for variant in Settings.known_variants for digest in ("aa", "bb") for lists in (10, 100)
    }  # fmt: skip
    own = [variant for variant, kind in VARIANTS.items() if kind.lists or kind.method == "hnsw"]
    assert len(names) == 2 * (2 * (len(VARIANTS) - len(own)) + len(own)), "lists of its own do not follow the settings"


def test_names_fit_postgresql_and_are_quoted():
    tables = [table(variant, 32_768, "f" * 20) for variant in VARIANTS]
    assert max(len(name) for each in tables for name in (each.index, each.draft)) <= 63
    hostile = table("ivfflat", 1, 'x"; DROP TABLE y; --')
    assert hostile.identifier().as_string(None) == '"nightgate_bench"."ivfflat_x""; DROP TABLE y; --_1"'


def test_more_lists_than_rows_are_refused():
    with pytest.raises(ValidationError, match="lists=2000 is more than rows=1000"):
        Settings(variants=("ivfflat",), rows=1000, lists=2000)


@pytest.mark.parametrize("variant", ["ivfflat_lists1000", "ivfflat_halfvec_lists1000"])
def test_a_control_of_many_lists_needs_as_many_rows(variant):
    Settings(variants=("ivfflat",), controls=(variant,), rows=1000)
    with pytest.raises(ValidationError, match="every list needs a row"):
        Settings(variants=("ivfflat",), controls=(variant,), rows=1000, lists=1001)


def test_the_tuning_margin_shrinks_with_queries_and_leaves_the_target_reachable():
    def margin(target, queries):
        return Settings(variants=("ivfflat",), recall_target=target, queries=queries).recall_margin

    assert margin(0.9, 10_000) < margin(0.9, 200) < 0.1
    assert margin(1.0, 100) == 0
    assert 0.99 + margin(0.99, 100) < 1


@pytest.mark.parametrize("clients", [(0,), (1, 65)])
def test_a_number_of_clients_has_bounds(clients):
    with pytest.raises(ValidationError, match="each must be from 1 to 64"):
        Settings(variants=("ivfflat",), clients=clients)


def test_no_step_asks_for_more_probes_than_there_are_lists():
    assert VARIANTS["ivfflat"].fits(7) == (1, 2, 3, 4, 5, 6, 7)
    assert VARIANTS["ivfflat"].fits(1) == (1,)
    assert VARIANTS["hnsw"].fits(None) == VARIANTS["hnsw"].steps


FEW, MANY = (1, 2, 3, 4, 5, 6, 8, 10, 15, 20), (1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96)
EF = (10, 20, 40, 60, 80, 120, 200, 400)


def test_each_variant_is_the_index_the_column_and_the_knob_of_its_name():
    assert {
        "ivfflat": Variant("ivfflat", "vector", "ivfflat.probes", FEW, None),
        "ivfflat_halfvec": Variant("ivfflat", "halfvec", "ivfflat.probes", FEW, None),
        "ivfflat_lists1000": Variant("ivfflat", "vector", "ivfflat.probes", MANY, 1000),
        "ivfflat_halfvec_lists1000": Variant("ivfflat", "halfvec", "ivfflat.probes", MANY, 1000),
        "hnsw": Variant("hnsw", "vector", "hnsw.ef_search", EF, None),
        "hnsw_halfvec": Variant("hnsw", "halfvec", "hnsw.ef_search", EF, None),
    } == VARIANTS
    assert {over_float32(name) for name in VARIANTS} == {"ivfflat", "ivfflat_lists1000", "hnsw"}
    assert over_float32("ivfflat_halfvec_lists1000") == "ivfflat_lists1000"


def test_what_pgvector_can_index_is_what_its_documentation_says():
    assert SINCE == {"hnsw": "0.5", "halfvec": "0.7"}
    assert MOST_DIMENSIONS == {"vector": 2000, "halfvec": 4000}
    assert too_long("hnsw", 2000) is None and too_long("ivfflat_halfvec", 4000) is None
    assert too_long("hnsw", 2001) == "pgvector indexes the type vector up to 2,000 dimensions and dim is 2,001"
    assert too_long("hnsw_halfvec", 4001) == "pgvector indexes the type halfvec up to 4,000 dimensions and dim is 4,001"
