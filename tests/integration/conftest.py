"""What the integration tests share: embedded PostgreSQL clusters, started once per session, and an empty HOME."""

from __future__ import annotations

import importlib.util
import platform
import sys
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from support import package
from support.disks import small_disk
from support.redis_server import RedisServer

from nightgate.measure import host
from nightgate.paths import EMBEDDED_PGVECTOR
from nightgate.results.store import Store
from nightgate.stack.keeper import Keeper
from nightgate.stack.postgres import Cluster, tuned_for_airflow, tuned_for_vectors


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """An empty HOME: what a library leaves there is seen."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("home")
        patch.setenv("HOME", str(folder))
        patch.delenv("XDG_CACHE_HOME", raising=False)
        yield folder


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    """Nightgate's own."""
    return package.build(package.ROOT, package.SOURCES, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory):
    """A server for the results store."""
    cluster = Cluster(tmp_path_factory.mktemp("results"), tuned_for_airflow())
    cluster.start()
    yield cluster.url()
    cluster.stop()


@pytest.fixture
def own_database(postgres_url):
    """The address of an empty database: the server is shared by the whole test session."""
    name = f"store_{uuid4().hex[:12]}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    yield make_conninfo(postgres_url, dbname=name)
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def pgvector_cluster(tmp_path_factory):
    """A server tuned for the vector benchmark. Tests that kill it make one of their own."""
    cluster = Cluster(tmp_path_factory.mktemp("bench"), tuned_for_vectors(host.describe().memory_bytes))
    cluster.start()
    yield cluster
    cluster.stop()


@pytest.fixture
def pgvector_url(pgvector_cluster, monkeypatch):
    url = pgvector_cluster.url()
    monkeypatch.setenv("PGVECTOR_URL", url)
    return url


@pytest.fixture
def embedded(tmp_path, monkeypatch):
    """A server as the stack runs it: ours to restart, and brought back when it ends."""
    cluster = Cluster(tmp_path / "embedded", tuned_for_vectors(host.describe().memory_bytes))
    cluster.start()
    keeper = Keeper(cluster)
    monkeypatch.delenv("PGVECTOR_URL", raising=False)
    monkeypatch.setenv(EMBEDDED_PGVECTOR, cluster.url())
    yield cluster
    keeper.stop()


@pytest.fixture(scope="session")
def old_cluster(tmp_path_factory):
    """PostgreSQL 16 with pgvector 0.6, as old as the image `ankane/pgvector:v0.6.0`."""
    if platform.machine() != "x86_64" or sys.version_info >= (3, 13):
        pytest.skip("pgserver has no wheel for this processor and Python")
    origin = importlib.util.find_spec("pgserver").origin  # found, not imported: importing it makes files of its own
    programs = Path(origin).parent / "pginstall" / "bin"
    cluster = Cluster(tmp_path_factory.mktemp("old"), {"shared_buffers": "256MB"}, programs)
    cluster.start()
    yield cluster
    cluster.stop()


@pytest.fixture
def redis_server(tmp_path_factory):
    """A server that a test may stop and start again."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def tiny_disk(tmp_path):
    with small_disk(tmp_path / "tiny", "4m") as folder:
        yield folder


@pytest.fixture
def new_store(postgres_url):
    """Makes stores, each in a database of its own."""
    names = []

    def make() -> Store:
        names.append(f"store_{uuid4().hex[:12]}")
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {names[-1]}")
        return Store(make_conninfo(postgres_url, dbname=names[-1]))

    yield make
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        for name in names:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def store(new_store):
    made = new_store()
    made.migrate()
    return made
