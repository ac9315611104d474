"""The tables of the store, renewed from every shape they ever had, with what they hold."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from support.nights import record, summary
from support.old_tables import OLDEST, ROWS, SHAPES, WITH_STANDING, WITH_SUITES, connect, of_before

from nightgate.errors import ServiceUnavailable
from nightgate.results import migrations
from nightgate.results.past import past_of


def columns(connection, table):
    rows = connection.execute(
        "SELECT attname, format_type(atttypid, atttypmod), attnotnull, attcollation::regcollation::text FROM pg_attribute "
        "WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped",
        [f"nightgate.{table}"],
    )
    return {name: (kind, needed, collation) for name, kind, needed, collation in rows}


def shape(connection):
    """Everything a migration can change."""
    indexes = dict(
        connection.execute("SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'nightgate'").fetchall()
    )
    return {table: columns(connection, table) for table in ("runs", "results", "notes", "versions")}, indexes


def judged_by(store, *, standing="night", suite="nightly"):
    found = past_of(record(9, suite=suite), "smoke", run_id="judged", standing=standing, store=store)
    return [(night.run_id, night.measured[0].metrics["latency_p95"].value) for night in found.nights]


@pytest.mark.parametrize("first", ["read", "write"])
@pytest.mark.parametrize("version", SHAPES)
def test_older_tables_are_renewed_with_what_they_hold_by_whoever_comes_first(new_store, version, first):
    store = new_store()
    of_before(store, version, ROWS)
    if first == "write":
        store.save_summary(summary(5, overrides={"hybrid_ann.k": 5}, name="by-hand"))
    nights = [(ROWS[0][0], 0.001), (ROWS[2][0], 0.003)]
    if version < WITH_SUITES:  # whatever there was is of the shipped suite
        assert judged_by(store) == nights
        assert judged_by(store, suite="own") == []
    else:
        assert (judged_by(store), judged_by(store, suite="own")) == (nights[:1], nights[1:])
    others = [run.run_id for run in store.others()]
    assert ROWS[1][0] in others, "no night, and there are some"
    assert store.summary(ROWS[1][0]).standing == ("ad-hoc" if version == OLDEST else "stand-in")
    assert judged_by(store, standing="ad-hoc")[0] == (ROWS[1][0], 0.002)
    assert len(store.runs()) == (4 if first == "write" else 3)


@pytest.mark.parametrize("version", SHAPES)
def test_renewed_tables_are_those_of_a_new_store(new_store, version):
    old, new = new_store(), new_store()
    of_before(old, version, ROWS)
    for store in (old, new):
        store.migrate()
    with connect(old) as renewed, connect(new) as made:
        assert shape(renewed) == shape(made)


def test_each_migration_is_applied_once_and_noted(store):
    for _ in range(2):
        store.migrate()
    with connect(store) as connection:
        found = connection.execute("SELECT version FROM nightgate.versions ORDER BY 1").fetchall()
    assert [version for (version,) in found] == sorted(migrations.FILES) == list(range(1, migrations.NEWEST + 1))


def test_one_that_fails_leaves_the_tables_as_they_were(new_store, monkeypatch, tmp_path):
    store = new_store()
    of_before(store, WITH_STANDING, ROWS[:2])
    torn = tmp_path / "4_torn.sql"
    torn.write_text("ALTER TABLE nightgate.runs ADD COLUMN half text; ALTER TABLE nightgate.nothing ADD COLUMN x text;")
    whole = migrations.FILES[migrations.NEWEST]
    monkeypatch.setitem(migrations.FILES, migrations.NEWEST, torn)
    with pytest.raises(ServiceUnavailable, match=r"nightgate\.nothing"):
        store.migrate()
    with connect(store) as connection:
        assert "half" not in columns(connection, "runs")
        assert "suite" not in columns(connection, "runs"), "nor what came before it"
    monkeypatch.setitem(migrations.FILES, migrations.NEWEST, whole)
    assert judged_by(store) == [(ROWS[0][0], 0.001)]


@pytest.mark.parametrize("use", ["read", "write", "migrate"])
def test_tables_of_a_newer_version_are_refused_and_stay_as_they_are(store, use):
    store.save_summary(summary(1))
    with connect(store) as connection:
        connection.execute("INSERT INTO nightgate.versions VALUES (%s)", [migrations.NEWEST + 1])
    with pytest.raises(ServiceUnavailable) as caught:
        {"read": store.latest, "write": lambda: store.save_summary(summary(2)), "migrate": store.migrate}[use]()
    assert f"have the version {migrations.NEWEST + 1}, and this Nightgate knows them up to {migrations.NEWEST}" in str(
        caught.value
    )
    assert "update Nightgate" in str(caught.value)
    with connect(store) as connection:
        assert connection.execute("SELECT count(*) FROM nightgate.runs").fetchone() == (1,)


def test_many_renew_old_tables_at_once(new_store):
    store = new_store()
    of_before(store, OLDEST, ROWS[:1])
    with ThreadPoolExecutor(8) as pool:
        found = [
            pool.submit(judged_by, type(store)(psycopg.conninfo.make_conninfo(**store._parameters))) for _ in range(8)
        ]
        assert {tuple(one.result()) for one in found} == {((ROWS[0][0], 0.001),)}
