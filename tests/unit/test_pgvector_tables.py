"""Each statement about the benchmark's tables, in its order; nothing between the functions of `tables` is replaced."""

from __future__ import annotations

import json
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
from support.scripted_pg import WHERE, Connection, quoted, table

from nightgate.errors import NotMeasured
from nightgate.pgvector_search import tables
from nightgate.pgvector_search.store import Pgvector
from nightgate.vector_search import store
from nightgate.vector_search.store import Built

__all__ = ["quoted"]

DIGEST = "a" * 20
TABLE = table("ivfflat_halfvec")
HERE, DRAFT = f"nightgate_bench.{TABLE.name}", f"nightgate_bench.{TABLE.draft}"
# 0.1 is another number in half precision
BASE = np.array([[0.1, 1], [2, 3], [4, 5], [6, 7], [8, 9], [10, 11]], dtype=np.float32)
MADE_FOR = {"format": 3, "rows": 6, "dim": 2, "metric": "cosine", "pgvector": "0.8.5", "lists": 10}
TUNING = {
    "asked": {"recall_target": 0.9, "recall_margin": 0.02, "host": "h", "k": 5}, "setting": {"probes": 3}, "reached": True,
    "curve": [],
}  # fmt: skip
KEPT = Built.model_validate(MADE_FOR | {
    "load_seconds": 1, "rows_per_second": 6, "build_seconds": 2, "built_at": "then", "tuning": TUNING,
})  # fmt: skip

VERSION, SCHEMA_THERE = [("0.8.5",)], [("nightgate_bench",)]
SAMPLE = ("SELECT coalesce(pg_relation_size(to_regclass(%s)), 0)", [HERE])


class Server(Connection):
    @contextmanager
    def transaction(self):
        self.said.append("BEGIN")
        yield
        self.said.append("COMMIT")

    def about_contents(self):
        """What was said after the look at the version, the schema and the tables that are there."""
        version, schema, found = self.said[:3]
        assert version.startswith("SELECT max(extversion)") and found[0].startswith("SELECT c.relname")
        assert schema == ("SELECT to_regnamespace(%s)", ["nightgate_bench"])
        return self.said[3:]


@pytest.fixture
def made(quoted, monkeypatch):
    """What was done beside SQL; the copy takes 2 s and the index 5."""
    made, now = [], [100.0]

    def copy_rows(where, target, base, column, name):
        assert where is WHERE
        made.append(("copy", ".".join(target._obj), base is BASE, column, name))
        now[0] += 2.0

    def build_index(connection, where, target, index, method, operators, lists, name):
        assert where is WHERE
        made.append(("index", ".".join(target._obj), index, method, operators, lists, name))
        connection.said.append("CREATE INDEX")
        now[0] += 5.0
        connection.handlers[0](SimpleNamespace(severity="NOTICE", message_primary="little data"))
        return 4.5

    monkeypatch.setattr(tables, "copy_rows", copy_rows)
    monkeypatch.setattr(tables, "build_index", build_index)
    monkeypatch.setattr(store, "utc_now", lambda: "now")
    monkeypatch.setattr(store, "_new_id", lambda: "b1")
    monkeypatch.setattr(store.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr("pgvector.psycopg.register_vector", lambda connection: made.append(("register", connection)))
    return made


def half(row):
    return SimpleNamespace(to_numpy=lambda: BASE[row].astype(">f2"))


def found(*names, comment=None, indexed=True):
    return [(name, comment, indexed) for name in names]


CREATE = f"CREATE UNLOGGED TABLE {DRAFT} (id int4 NOT NULL, vec halfvec(2)) WITH (autovacuum_enabled = false)"


def ensure(server):
    return Pgvector().ensure(server, WHERE, TABLE, BASE, None)


def built(said):
    """Checks what was said to build the table; the comment is `FACTS`."""
    comment = next(each for each in said if str(each).startswith("COMMENT"))
    head = f"COMMENT ON TABLE {HERE} IS '"
    assert json.loads(comment.removeprefix(head)[:-1]) == json.loads(FACTS.model_dump_json(exclude={"reused"}))
    return [
        f"DROP TABLE IF EXISTS {HERE}", CREATE, "CREATE INDEX", "SELECT max(extversion) FROM pg_extension WHERE extname = 'vector'",
        ("SELECT coalesce(pg_relation_size(to_regclass(%s)), 0)", [f"{HERE}_vec"]),
        ("SELECT coalesce(pg_table_size(to_regclass(%s)), 0)", [DRAFT]),
        f"ANALYZE {DRAFT}", "BEGIN", f"ALTER TABLE {DRAFT} RENAME TO {TABLE.name}", comment, "COMMIT", "CHECKPOINT",
    ]  # fmt: skip


FACTS = Built.model_validate(MADE_FOR | {
    "load_seconds": 2.0, "rows_per_second": 3.0, "build_seconds": 4.5, "index_bytes": 4096, "table_bytes": 8192,
    "notices": ["NOTICE: little data"], "built_at": "now", "build": "b1",
})  # fmt: skip
SIZES = VERSION, [(4096,)], [(8192,)]
WORK = [
    ("copy", DRAFT, True, "halfvec", "ivfflat_halfvec"),
    ("index", DRAFT, f"{TABLE.name}_vec", "ivfflat", "halfvec_cosine_ops", 10, "ivfflat_halfvec"),
]


def as_told(facts):
    return facts.model_dump(mode="json")


def test_a_table_is_loaded_indexed_and_only_then_named(made):
    server = Server(VERSION, SCHEMA_THERE, [], [], *SIZES)
    assert as_told(ensure(server)) == as_told(FACTS)
    assert server.about_contents() == built(server.said)
    assert made == WORK


def test_a_table_that_stands_is_reused_with_all_that_was_remembered(made):
    stands = found(TABLE.name, comment=KEPT.model_dump_json())
    server = Server(VERSION, SCHEMA_THERE, stands, [(16_384,)], [(0, half(0)), (5, half(5))])
    assert ensure(server) == KEPT.model_copy(update={"reused": True})
    rows = (f"SELECT id, vec FROM {HERE} WHERE ctid = ANY(%s::tid[])", [["(0,1)", "(1,1)"]])
    assert server.about_contents() == [SAMPLE, rows]
    assert made == [("register", server)] and server.options == {"binary": True}


def test_a_table_of_other_rows_is_built_anew(made):
    stands = found(TABLE.name, comment=KEPT.model_dump_json())
    server = Server(VERSION, SCHEMA_THERE, stands, [(16_384,)], [(0, half(0)), (5, half(4))], [], *SIZES)
    assert as_told(ensure(server)) == as_told(FACTS)
    assert server.about_contents()[2:] == built(server.said)
    assert made[1:] == WORK


def test_what_is_incomplete_goes_before_the_load(made):
    server = Server(VERSION, SCHEMA_THERE, found(TABLE.draft, indexed=False), [], *SIZES)
    ensure(server)
    assert server.about_contents() == [f"DROP TABLE IF EXISTS {DRAFT}", *built(server.said)]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), NotMeasured("x")])
@pytest.mark.parametrize("gone", [False, True])
def test_a_build_that_ends_early_drops_its_draft_if_the_server_is_still_there(made, monkeypatch, error, gone):
    class Dying(Server):
        def execute(self, statement, values=None):
            answer = super().execute(statement, values)
            if gone and self.said[-1] == f"DROP TABLE IF EXISTS {DRAFT}":
                raise OSError("the server is gone")
            return answer

    def fails(*_):
        raise error

    monkeypatch.setattr(tables, "build_index", fails)
    server = Dying(VERSION, SCHEMA_THERE, [], [], found(TABLE.draft))
    with pytest.raises(type(error)) as raised:
        ensure(server)
    assert raised.value is error
    drop, create, _, again = server.about_contents()
    assert (drop, create, again) == (f"DROP TABLE IF EXISTS {HERE}", CREATE, f"DROP TABLE IF EXISTS {DRAFT}")


# which are ours


def test_only_tables_of_our_manner_are_ours():
    from psycopg.rows import tuple_row

    ours = [f"ivfflat_{DIGEST}_10", f"hnsw_halfvec_{DIGEST}_0_loading", f"ivfflat_future9_{DIGEST}_3"]
    theirs = [
        "ivfflat_notes", f"flat_{DIGEST}_10", f"ivfflat_{'g' * 20}_10", f"ivfflat_{DIGEST}_10_old",
        f"x_ivfflat_{DIGEST}_1",
    ]  # fmt: skip
    connection = Connection(found(*ours, *theirs))
    assert tables._found(connection) == found(*ours)
    statement, values = connection.said[0]
    assert values == ["nightgate_bench"] and connection.options == {"row_factory": tuple_row}
    assert "i.indisvalid AND x.relname = c.relname || '_vec'" in statement, "half an index is none"


def test_drafts_go_and_the_rest_stays(quoted):
    connection = Connection(found(TABLE.name, TABLE.draft, "notes_loading"))
    tables.drop_drafts(connection)
    assert connection.said[1:] == [f"DROP TABLE IF EXISTS {DRAFT}"]


def test_all_of_ours_goes_and_the_schema_if_nothing_else_is_in_it(quoted, caplog):
    from psycopg.errors import DependentObjectsStillExist, InsufficientPrivilege

    connection = Connection(found(TABLE.name, "notes", TABLE.draft))
    tables.remove(connection)
    assert connection.said[1:] == [
        f"DROP TABLE IF EXISTS {HERE}", f"DROP TABLE IF EXISTS {DRAFT}", "DROP SCHEMA IF EXISTS nightgate_bench",
    ]  # fmt: skip
    caplog.set_level("INFO")
    for error in (DependentObjectsStillExist("notes"), InsufficientPrivilege("owner")):
        tables.remove(Connection([], error))
    assert caplog.text.count("the schema nightgate_bench stays") == 2


# what they hold


@pytest.mark.parametrize(
    ("answers", "said"), [([[(True,)], [(5,)]], "5"), ([[(True,)], [(7,)]], "7"), ([[(False,)]], "None")]
)
def test_every_row_must_be_there(quoted, answers, said):
    connection = Connection([(True,)], [(6,)])
    tables.require_rows(connection, TABLE, 6)
    assert connection.said == [("SELECT to_regclass(%s) IS NOT NULL", [HERE]), f"SELECT count(*) FROM {HERE}"]
    with pytest.raises(NotMeasured) as refused:
        tables.require_rows(Connection(*answers), TABLE, 6)
    assert refused.value.what == f"the table {TABLE.name} holds {said} rows, not 6"
    assert refused.value.next_step == "prepare the benchmark again"


def holds(rows, of=TABLE, size=8192 * 3):
    connection = Connection([(size,)], rows)
    return tables.holds(connection, of, BASE), connection.said[-1][1][0]


def test_rows_from_all_over_the_table_are_compared_bit_for_bit(made):
    whole = table("ivfflat")
    good = [(0, BASE[0]), (5, BASE[5])]
    assert holds(good, whole) == (True, ["(0,1)", "(1,1)", "(2,1)"])
    places = holds(good, whole, size=8192 * 1000)[1]
    assert (len(places), places[0], places[-1]) == (100, "(0,1)", "(999,1)")
    assert holds(good, whole, size=0)[1] == ["(0,1)"]
    assert holds([], whole)[0] is False, "a crash leaves none"
    for wrong in ([(0, BASE[1])], [(0, BASE[0]), (5, BASE[4])], [(6, BASE[5])], [(-1, BASE[5])]):
        assert holds(wrong, whole)[0] is False


def test_half_precision_rows_are_compared_as_they_are_held(made):
    assert holds([(0, half(0)), (3, half(3))])[0] is True
    assert holds([(3, half(3)), (0, SimpleNamespace(to_numpy=lambda: BASE[0]))])[0] is False, "0.1 in single precision"
    assert holds([(0, half(0))], table("ivfflat"))[0] is False
