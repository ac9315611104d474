"""pgvector as a vector store: what it can hold, what stands in for what, and which server is meant."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import pytest
from support.scripted_pg import WHERE, Connection, table

from nightgate import registry
from nightgate.errors import InputError, ServiceUnavailable
from nightgate.pgvector_search import address, server
from nightgate.pgvector_search import store as pgvector
from nightgate.pgvector_search.settings import Settings
from nightgate.pgvector_search.store import Pgvector
from nightgate.vector_search.settings import Shape
from nightgate.vectors.prepared import DataFacts

STORE = Pgvector()


def settings(**more):
    return Settings(**{"variants": ("ivfflat",), "rows": 2000, "dim": 16, "lists": 10} | more)


def test_it_has_a_benchmark_of_its_own():
    found = registry.named("pgvector_search")
    assert (found.title, found.devices, found.settings) == ("pgvector search", ("cpu",), Settings)
    assert found.headlines[:2] == ("recall_at_5", "latency_p50")
    assert [service.variable for service in found.services] == ["PGVECTOR_URL"]
    measured = found.measures(settings(k=10))
    assert {"recall_at_1", "recall_at_10", "cold_start_p50", "prepare_seconds"} <= set(measured)
    assert not {"recall_at_5", "recall_at_100"} & set(measured)
    assert settings().k == 5 and settings().recall_depths == (1, 5)


def test_the_table_of_a_variant_is_of_its_data_and_its_metric():
    data = DataFacts(rows=9, dim=3, digest="d" * 20, metric="ip")
    found = STORE.collection("hnsw_halfvec", data, settings(lists=7))
    assert found == table("hnsw_halfvec", 7, "d" * 20, rows=9, dim=3, metric="ip")
    assert (found.kind.method, found.lists_of_index) == ("hnsw", None)


def test_float32_stands_in_for_half_precision():
    assert STORE.instead("ivfflat_halfvec_lists1000") == "ivfflat_lists1000"


def test_dimensions_end_where_the_index_of_the_column_ends():
    assert settings(dim=2000).dim == 2000
    assert settings(variants=("ivfflat_halfvec",), controls=("ivfflat",), dim=4000).dim == 4000
    with pytest.raises(ValueError, match=r"ivfflat cannot be built: pgvector indexes the type vector up to 2,000 dimensions "
                       r"and dim is 2,001; use one of ivfflat_halfvec, ivfflat_halfvec_lists1000, hnsw_halfvec, or"):  # fmt: skip
        settings(variants=("ivfflat_halfvec", "ivfflat"), dim=2001)
    with pytest.raises(ValueError, match="4000"):
        settings(variants=("ivfflat_halfvec",), dim=4001)


@pytest.mark.parametrize(
    ("variant", "shape", "reason"),
    [
        ("ivfflat", (10, 2000), None),
        ("ivfflat", (10, 2001), "pgvector indexes the type vector up to 2,000 dimensions and dim is 2,001"),
        ("hnsw_halfvec", (10, 4001), "pgvector indexes the type halfvec up to 4,000 dimensions and dim is 4,001"),
        ("ivfflat", (9, 8), "ivfflat has 10 lists and there are 9 rows; every list needs a row"),
        (
            "ivfflat_lists1000",
            (999, 8),
            "ivfflat_lists1000 has 1,000 lists and there are 999 rows; every list needs a row",
        ),
        ("hnsw", (9, 8), None),
    ],
)
@pytest.mark.parametrize("metric", ["cosine", "l2", "ip"])
def test_what_no_index_of_it_can_hold(variant, shape, reason, metric):
    assert STORE.too_much(variant, Shape(rows=shape[0], dim=shape[1], metric=metric), settings()) == reason


@pytest.mark.parametrize(
    ("dim", "lists", "why"), [(2001, 10, "up to 2,000 dimensions"), (8, 1201, "every list needs a row")]
)
def test_a_file_that_it_cannot_hold_is_refused_before_the_run(tmp_path, monkeypatch, dim, lists, why):
    for name in ("PGVECTOR_URL", "NIGHTGATE_EMBEDDED_PGVECTOR"):
        monkeypatch.delenv(name, raising=False)
    file = tmp_path / "mine.npy"
    np.save(file, np.random.default_rng(2).normal(size=(1600, dim)).astype(np.float32))
    asked = settings(dataset=str(file), metric="l2", lists=lists, queries=100)
    assert asked.rows == 2000, "of the synthetic vectors, and so not looked at"
    with pytest.raises(InputError, match=why):
        registry.named("pgvector_search").look(asked, {})


def test_the_embedded_server_is_known_by_its_address(monkeypatch):
    monkeypatch.setenv("NIGHTGATE_EMBEDDED_PGVECTOR", "postgresql://ours")
    assert STORE.address("postgresql://ours").ours and not STORE.address("postgresql://theirs").ours
    monkeypatch.delenv("NIGHTGATE_EMBEDDED_PGVECTOR")
    assert not STORE.address("").ours


def test_libpq_finds_its_own_variables_in_a_child_and_no_address():
    from fnmatch import fnmatchcase

    kept = [name for name in ("PGPASSFILE", "PGSSLROOTCERT", "PGVECTOR_URL") if fnmatchcase(name, address.VARIABLES[0])]
    assert kept == ["PGPASSFILE", "PGSSLROOTCERT"]


def test_what_is_no_address_is_refused():
    STORE.look("postgresql://user@host/database")
    with pytest.raises(InputError, match="PGVECTOR_URL is not a PostgreSQL connection string"):
        STORE.look("user is me")


def test_the_doctor_is_told_what_it_is(monkeypatch):
    doings = []

    @contextmanager
    def session(where, doing):
        doings.append((where, doing))
        yield Connection([("18.4",)], [(None,)])

    monkeypatch.setattr(pgvector.server, "session", session)
    assert list(STORE.findings(WHERE)) == [
        (True, "PostgreSQL: 18.4 of PGVECTOR_URL, pgvector not created in this database yet")
    ]
    assert doings == [(WHERE, "say what it is")]
    assert server.versions(Connection([("18.4",)], [("0.8.5",)])) == {"postgresql": "18.4", "pgvector": "0.8.5"}
    assert list(STORE.findings(STORE.address(""))) == [
        (True, "PostgreSQL: the embedded one, since PGVECTOR_URL is not set")
    ]

    def refused(where, doing):
        raise ServiceUnavailable("no password")

    monkeypatch.setattr(pgvector.server, "session", refused)
    assert list(STORE.findings(WHERE)) == [(False, "PostgreSQL: no password")]
