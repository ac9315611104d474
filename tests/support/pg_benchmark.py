"""The pgvector benchmark as the steps call it, on the server that the environment names."""

from __future__ import annotations

import os

from nightgate import registry
from nightgate.benchmark import Context
from nightgate.pgvector_search import server
from nightgate.pgvector_search.store import Pgvector
from nightgate.pgvector_search.tables import Table
from nightgate.vector_search.store import Address

STORE = Pgvector()


def where() -> Address:
    return STORE.address(os.environ.get("PGVECTOR_URL") or os.environ.get("NIGHTGATE_EMBEDDED_PGVECTOR", ""))


def prepare(settings, device, cache):
    return registry.named("pgvector_search").prepare(settings, Context(device, cache))


def measure(settings, device, prepared, samples):
    return registry.named("pgvector_search").measure(settings, prepared, Context(device, None, samples=samples))


def session(doing):
    return server.session(where(), doing)


def table(variant, digest, lists, base):
    return Table(variant, digest, *base.shape, "cosine", lists)


def table_of(settings, prepared, variant):
    return STORE.collection(variant, prepared.data, settings)


def ensure(connection, table, base):
    return STORE.ensure(connection, where(), table, base, None)


def missing(record):
    """What was not measured, and why, but for what a host says that is seldom at its full speed."""
    return {what: why for what, why in record.facts.not_measured.items() if what != "the latencies at full speed"}
