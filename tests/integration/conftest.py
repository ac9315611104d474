"""What the integration tests share: embedded PostgreSQL clusters, started once per session, and an empty HOME."""

from __future__ import annotations

import pytest

from nightgate.measure import host
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
def postgres_url(tmp_path_factory):
    """A server for the results store."""
    cluster = Cluster(tmp_path_factory.mktemp("results"), tuned_for_airflow())
    cluster.start()
    yield cluster.url()
    cluster.stop()


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
