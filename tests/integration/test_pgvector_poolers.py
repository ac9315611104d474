"""A pooler between us and the server: one that keeps sessions is worked through, one that shares them is refused."""

from __future__ import annotations

import psycopg
import pytest
from support import pg_benchmark as benchmark
from support.pg_benchmark import session
from support.pgbouncer import pgbouncer

from nightgate import registry
from nightgate.artifacts import Cache
from nightgate.errors import ServiceUnavailable
from nightgate.pgvector_search import pinning, tables
from nightgate.pgvector_search.settings import Settings

pytestmark = pytest.mark.slow

SMALL = {"rows": 2000, "dim": 16, "queries": 100, "lists": 10, "passes": 1, "load_seconds": 0.2, "clients": (1, 2)}
ONE = Settings(variants=("ivfflat",), **SMALL)


def ask(url, query, *values):
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(query, values or None).fetchone()


def foreign(url):
    """Advisory locks, our schema, and what the pooler's own sessions would hand to the next client."""
    locks = ask(url, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")[0]
    return locks, ask(url, "SELECT to_regnamespace(%s)::text", tables.SCHEMA)[0]


@pytest.fixture
def clean(pgvector_cluster):
    url = pgvector_cluster.url()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"DROP SCHEMA IF EXISTS {tables.SCHEMA} CASCADE")
    return url


@pytest.mark.parametrize("mode", ["transaction", "statement"])
@pytest.mark.parametrize(
    "pool", [{}, {"default_pool_size": 1}, {"min_pool_size": 4, "server_round_robin": 1}], ids=["usual", "one", "turns"]
)
def test_a_pooler_that_shares_sessions_is_refused_and_left_as_it_was(
    pgvector_cluster, clean, tmp_path, monkeypatch, mode, pool
):
    with pgbouncer(tmp_path / "pool", pgvector_cluster, mode, **pool) as url:
        before = ask(url, "SELECT current_setting('search_path'), current_setting('lock_timeout')")
        monkeypatch.setenv("PGVECTOR_URL", url)
        with pytest.raises(ServiceUnavailable, match="pooler that shares sessions") as refused:
            benchmark.prepare(ONE, "cpu", Cache(tmp_path / "cache"))
        assert "pool_mode=session" in str(refused.value) and "the server itself" in str(refused.value)
        assert not (tmp_path / "cache").exists() or not list((tmp_path / "cache").rglob("*.npy")), "before any work"
        fine, said = next(registry.named("pgvector_search").findings({}))
        assert not fine and "pooler" in said
        assert foreign(clean) == (0, None)
        for _ in range(5):
            assert ask(url, "SELECT current_setting('search_path'), current_setting('lock_timeout')") == before


def test_a_pooler_with_other_clients_is_seen_through(pgvector_cluster, clean, tmp_path, monkeypatch):
    with pgbouncer(tmp_path / "pool", pgvector_cluster, "transaction", default_pool_size=5) as url:
        busy = [psycopg.connect(url) for _ in range(3)]
        for connection in busy:
            connection.execute("SELECT 1")  # in a transaction that stays open
        monkeypatch.setenv("PGVECTOR_URL", url)
        with pytest.raises(ServiceUnavailable, match="shares sessions"), session("try"):
            pass
        for connection in busy:
            connection.close()


def test_a_pooler_that_gives_each_client_a_session_is_worked_through(pgvector_cluster, clean, tmp_path, monkeypatch):
    with pgbouncer(tmp_path / "pool", pgvector_cluster, "session", server_reset_query="") as url:
        before = ask(url, "SELECT current_setting('search_path'), current_setting('lock_timeout')")
        monkeypatch.setenv("PGVECTOR_URL", url)
        assert next(registry.named("pgvector_search").findings({}))[0]
        prepared = benchmark.prepare(ONE, "cpu", Cache(tmp_path / "cache"))
        [record] = benchmark.measure(ONE, "cpu", prepared, tmp_path / "s.npz")
        assert record.status == "measured", record.reason
        assert benchmark.missing(record) == {}
        assert foreign(clean) == (0, None)
        # this pooler resets nothing, so what is seen now is what we left
        clients = [psycopg.connect(url, autocommit=True) for _ in range(4)]
        for connection in clients:
            query = "SELECT current_setting('search_path'), current_setting('lock_timeout')"
            assert connection.execute(query).fetchone() == before
            connection.close()


def test_what_another_client_left_in_a_session_is_not_ours(pgvector_cluster, clean, tmp_path, monkeypatch):
    """As one does that was killed: psycopg names its statements alike in every client."""
    with pgbouncer(tmp_path / "pool", pgvector_cluster, "session", server_reset_query="") as url:
        others = [psycopg.connect(url, autocommit=True) for _ in range(4)]
        for connection in others:
            connection.execute("PREPARE _pg3_0 AS SELECT 1")
        for connection in others:
            connection.close()
        monkeypatch.setenv("PGVECTOR_URL", url)
        with session("try") as connection:
            assert connection.execute("SELECT 2", prepare=True).fetchone() == (2,)


def test_a_pooler_without_a_second_session_is_no_endless_wait(pgvector_cluster, clean, tmp_path, monkeypatch):
    monkeypatch.setattr(pinning, "_PATIENCE", 0.5)
    with pgbouncer(tmp_path / "pool", pgvector_cluster, "session", default_pool_size=1) as url:
        monkeypatch.setenv("PGVECTOR_URL", url)
        with pytest.raises(ServiceUnavailable, match="serves no second client.*pool_size"), session("try"):
            pass


def test_a_startup_parameter_that_the_pooler_refuses_is_named(pgvector_cluster, tmp_path, monkeypatch):
    with pgbouncer(tmp_path / "pool", pgvector_cluster, "session") as url:
        monkeypatch.setenv("PGVECTOR_URL", f"{url}?options=-c%20geqo%3Doff")
        with pytest.raises(
            ServiceUnavailable, match="unsupported startup parameter.*leave that parameter out"
        ) as refused:
            benchmark.prepare(ONE, "cpu", Cache(tmp_path / "cache"))
        assert "refuses the connection" in str(refused.value)
