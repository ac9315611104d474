"""The proof that the index is used, and the warmth of the server's memory, over plans written down beforehand."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from support.scripted_pg import Connection, quoted, table

from nightgate.errors import NotMeasured
from nightgate.pgvector_search import plan, warming

__all__ = ["quoted"]

INDEX = ["Limit  (cost=1..2)", "  ->  Index Scan using our_vec on our_table  (cost=1..2)"]
OTHER = ["Limit  (cost=1..2)", "  ->  Index Scan using our_vec_2 on our_table  (cost=1..2)"]
SEQUENTIAL = ["Limit  (cost=1..2)", "  ->  Sort", "        ->  Seq Scan on our_table  (cost=1..2)"]


def lines(found):
    return [(line,) for line in found]


def test_a_plan_that_uses_the_index_is_left_alone():
    connection = Connection(lines(INDEX))
    assert plan.require_index(connection, "SELECT", "q", "our_vec") is True
    assert connection.said == [("EXPLAIN SELECT", ["q"])]


@pytest.mark.parametrize("first", [SEQUENTIAL, OTHER])
def test_sequential_scans_are_forbidden_only_where_it_takes_that(first):
    connection = Connection(lines(first), lines(INDEX))
    assert plan.require_index(connection, "SELECT", "q", "our_vec") is False
    assert connection.said == [("EXPLAIN SELECT", ["q"]), "SET enable_seqscan = off", ("EXPLAIN SELECT", ["q"])]


@pytest.mark.parametrize(
    ("then", "scan"),
    [
        (SEQUENTIAL, "Limit  (cost=1..2) ->  Seq Scan on our_table  (cost=1..2)"),
        (OTHER, "Limit  (cost=1..2) ->  Index Scan using our_vec_2 on our_table  (cost=1..2)"),
        (["Result"], "Result"),
        (["Seq Scan on our_table"], "Seq Scan on our_table"),
    ],
)
def test_a_plan_that_never_uses_it_is_no_measurement(then, scan):
    with pytest.raises(NotMeasured) as refused:
        plan.require_index(Connection(lines(SEQUENTIAL), lines(then)), "SELECT", "q", "our_vec")
    assert refused.value.what == f"the query does not use the index our_vec; its plan is: {scan}"
    assert refused.value.next_step == (
        "prepare the benchmark again; if it persists, look at the planner settings of the server, database and role"
    )


def test_blocks_are_those_of_the_topmost_node():
    inner = {"Shared Hit Blocks": 5, "Shared Read Blocks": 6}
    found = [{"Plan": {"Shared Hit Blocks": 31, "Shared Read Blocks": 7, "Plans": [inner]}}]
    connection = Connection([(found,)])
    assert plan.blocks(connection, "SELECT", "q") == (31, 7)
    assert connection.said == [("EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) SELECT", ["q"])]


def test_the_plan_of_the_prepared_statement_is_asked_by_its_name(quoted):
    connection = Connection([("_pg3_0",)], lines(INDEX))
    vector = SimpleNamespace(to_text=lambda: "[1,2]")
    assert plan.evidence(connection, "SELECT $1", vector, "our_vec") == INDEX
    names, explain = connection.said
    assert names == ("SELECT name FROM pg_prepared_statements WHERE statement = %s", ["SELECT $1"])
    assert explain == "EXPLAIN (ANALYZE, BUFFERS, TIMING OFF) EXECUTE _pg3_0('[1,2]')"


def test_a_statement_that_was_not_prepared_or_not_planned_so_is_no_measurement(quoted):
    vector = SimpleNamespace(to_text=lambda: "[1,2]")
    with pytest.raises(NotMeasured) as refused:
        plan.evidence(Connection([]), "SELECT $1", vector, "our_vec")
    assert (refused.value.what, refused.value.next_step) == (
        "the timed statement was not prepared", "connect to the server itself, not through a pooler",
    )  # fmt: skip
    with pytest.raises(NotMeasured, match="does not use the index our_vec"):
        plan.evidence(Connection([("_pg3_0",)], lines(SEQUENTIAL)), "SELECT $1", vector, "our_vec")


# warming


TABLE = table("ivfflat", 7)


@pytest.fixture
def warmed(quoted, monkeypatch):
    """Warm over ``rows`` rows when the n-th hundred queries read reads[n] blocks in all and hit 1000 more in each."""

    def run(reads, rows=2000, *, hits=1000, extension=False, seconds=0.0):
        server, now, asked = Connection(), [0.0], []
        if extension:
            server.answers = [[("tools",)], [(1,)]]

        def blocks(connection, statement, vector):
            assert (connection, statement) == (server, "SELECT")
            asked.append(vector)
            now[0] += seconds / 100
            hundred, place = divmod(len(asked) - 1, 100)
            extra = reads[min(hundred, len(reads) - 1)] if place == 99 else 0
            return hits, extra

        def encoded(column, vectors):
            assert column == "vector"
            return [int(v[0]) for v in vectors]

        monkeypatch.setattr(warming.plan, "blocks", blocks)
        monkeypatch.setattr(warming, "encoded", encoded)
        monkeypatch.setattr(warming.time, "monotonic", lambda: now[0])
        changed = []
        monkeypatch.setattr(warming.server, "change", lambda *what: changed.append(what))
        found = warming.warm(server, "SELECT", TABLE, np.arange(rows)[:, None])
        assert changed == [(server, {"effective_io_concurrency": "1000"})]
        assert server.said[-1] == "RESET effective_io_concurrency", "or it would hold while timing"
        return found, asked

    return run


def test_a_warm_server_is_asked_a_hundred_queries(warmed, caplog):
    found, asked = warmed([100])  # 100 of 100,100 blocks: 0.0999 %
    assert found == {"by": "queries", "queries": 100, "blocks_hit": 1000.0, "blocks_read": 1.0}
    assert asked == list(range(100))
    assert caplog.text == ""


def test_one_block_in_a_thousand_from_outside_is_warm(warmed, caplog):
    assert warmed([100], hits=999)[0] == {"by": "queries", "queries": 100, "blocks_hit": 999.0, "blocks_read": 1.0}
    assert caplog.text == ""
    assert warmed([101, 0], hits=999)[0]["queries"] == 200


def test_every_hundred_is_of_fresh_rows_until_hardly_a_block_is_missing(warmed):
    found, asked = warmed([50_000, 20_000, 101, 100, 0])
    assert found == {"by": "queries", "queries": 400, "blocks_hit": 1000.0, "blocks_read": 1.0}
    assert asked == list(range(400))


def test_the_rows_asked_for_are_spread_over_a_large_table(warmed):
    _, asked = warmed([50_000, 100], rows=60_000)
    assert asked == [*range(0, 300, 3), *range(300, 600, 3)]
    _, asked = warmed([50_000, 100], rows=39_999)
    assert asked == list(range(200))


def test_it_ends_when_no_fewer_blocks_are_missing_than_before(warmed, caplog):
    # the last five hundreds against the five before: 4,501 is more than nine tenths of 5,000
    found, _ = warmed([1000] * 5 + [900] * 4 + [901])
    assert found["queries"] == 1000 and found["blocks_read"] == 9.01
    assert "0.9 % of the blocks that a query reads come from outside shared_buffers" in caplog.text
    found, _ = warmed([1000] * 5 + [900] * 5 + [2000])
    assert found["queries"] == 1100, "4,500 of 5,000 is not yet a standstill; 5,600 of 4,900 is"
    found, _ = warmed([9000, 1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000, 900, 900])
    assert found["queries"] == 1100, "the first hundred drops out of the comparison"


def test_it_goes_on_while_fewer_blocks_are_missing(warmed):
    # three in a hundred fewer each time: of five hundreds 14 in a hundred
    assert warmed([round(10_000 * 0.97**n) for n in range(14)] + [0])[0]["queries"] == 1500


def test_it_ends_where_the_rows_of_a_large_table_end(warmed, monkeypatch):
    assert warming._MOST == 20_000
    monkeypatch.setattr(warming, "_MOST", 200)
    found, asked = warmed([5000, 4000, 3000], rows=400)
    assert found["queries"] == 200 and asked == list(range(0, 400, 2))


def test_it_ends_where_the_rows_or_the_patience_end(warmed):
    assert warmed([5000, 4000, 3000], rows=250)[0]["queries"] == 300
    assert warmed([5000, 4000, 3000], rows=300)[0]["queries"] == 300
    assert warmed([5000, 4000, 3000], rows=301)[0]["queries"] == 400


def test_it_ends_after_a_minute(warmed, monkeypatch):
    assert warming._PATIENCE == 60
    monkeypatch.setattr(warming, "_PATIENCE", 50.0)
    assert warmed([9000, 8000, 7000, 6000, 5000, 4000], seconds=12.5)[0]["queries"] == 500, "over it, not just there"
    assert warmed([9000, 8000, 7000, 6000, 5000, 4000], seconds=12.625)[0]["queries"] == 400


def test_the_last_hundred_may_be_fewer(warmed):
    found, asked = warmed([5000, 4000, 3000], rows=250)
    assert len(asked) == 250
    assert (found["blocks_hit"], found["blocks_read"]) == (1000.0, 0.0)


def test_an_extension_that_is_there_reads_the_index_first(warmed):
    assert warmed([0], extension=True)[0]["by"] == "pg_prewarm"


def test_prewarm_reads_the_index_wherever_the_extension_is(quoted):
    server = Connection([("tools",)], [(1,)])
    assert warming._prewarm(server, TABLE) == "pg_prewarm"
    where, reading = server.said
    assert "extname = 'pg_prewarm'" in where
    assert reading == ("SELECT tools.pg_prewarm(to_regclass(%s))", [f"nightgate_bench.ivfflat_{'a' * 20}_7_vec"])


def test_without_the_extension_it_is_left_to_the_queries():
    server = Connection()
    assert warming._prewarm(server, TABLE) == "queries" and len(server.said) == 1


def test_prewarm_that_is_refused_leaves_it_to_the_queries(quoted):
    from psycopg.errors import InsufficientPrivilege

    assert warming._prewarm(Connection([("tools",)], InsufficientPrivilege("no")), TABLE) == "queries"
