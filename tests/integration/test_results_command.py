"""`nightgate results …` on a real store: the way out and in through pipes, and what is said of results."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from urllib.parse import quote

import pytest
from support.nights import record, summary
from typer.testing import CliRunner

from nightgate import cli
from nightgate.errors import NightgateError
from nightgate.results import files, transfer
from nightgate.stack.lock import StackLock
from nightgate.terminal.stored import VARIABLE


def uri(store) -> str:
    """As Airflow writes the connection."""
    given = store._parameters
    return f"postgres://{given['user']}:@/{given['dbname']}?host={quote(given['host'], safe='')}"


@pytest.fixture
def named(store, tmp_path, monkeypatch):
    """A store that the environment names, and one run in it and on disk."""
    monkeypatch.setenv("NIGHTGATE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NIGHTGATE_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv(VARIABLE, uri(store))
    kept = summary(1, record(1), record(1, variant="hnsw"))
    store.save_summary(kept)
    files.write_summary(kept)
    return store


def nightgate(*words):
    done = CliRunner().invoke(cli.app, ["results", *words])
    if isinstance(done.exception, NightgateError):
        raise done.exception
    assert done.exit_code == 0, done.output
    return " ".join(done.output.split())


def refused(*words):
    with pytest.raises(NightgateError) as caught:
        nightgate(*words)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_an_exclusion_is_made_shown_and_taken_back(named):
    said = nightgate(
        "exclude", "night-001", "--variant", "hnsw", "--reason", "the [disk] was slow", "--name", "ada@bench"
    )
    assert "hnsw of night-001 is excluded: the [disk] was slow (ada@bench, 2" in said
    for words in (["list"], ["show", "night-001"]):
        assert "hnsw of night-001 is excluded: the [disk] was slow (ada@bench" in nightgate(*words), words
    (note,) = json.loads(nightgate("notes", "--json"))
    assert (note["kind"], note["scope"]["variant"], note["by"]) == ("excluded", "hnsw", "ada@bench")
    assert "hnsw of night-001 is no longer excluded" in nightgate(
        "include", "night-001", "--variant", "hnsw", "--reason", "it was not"
    )
    assert "excluded" not in nightgate("list")
    assert json.loads(nightgate("notes", "--json")) == []
    assert "it was not" in nightgate("notes", "--all")


def test_a_shift_is_accepted_and_that_taken_back(named, monkeypatch):
    monkeypatch.setattr("nightgate.results.notes.whoever", lambda: "me@here")
    assert "night-001 is accepted as the new baseline: faiss 2 (me@here, 2" in nightgate(
        "accept", "night-001", "--reason", "faiss 2"
    )
    assert [note.kind for note in named.notes()] == ["accepted"]
    nightgate("unaccept", "night-001")
    assert named.notes() == []


def test_what_makes_no_sense_is_bad_input(named):
    assert "no run 'night-01'; did you mean 'night-001'?" in refused("exclude", "night-01", "--reason", "x")
    assert "there is no device 'tpu'" in refused("exclude", "night-001", "--device", "tpu", "--reason", "x")
    assert "night-001 is not accepted" in refused("unaccept", "night-001")
    assert "/no/such.jsonl cannot be read" in refused("import", "/no/such.jsonl")


def test_a_store_goes_into_a_file_and_comes_back_from_it(named, new_store, tmp_path, monkeypatch):
    file = tmp_path / "nights.jsonl"
    nightgate("export", str(file))
    other = new_store()
    monkeypatch.setenv(VARIABLE, uri(other))
    assert "1 runs, 2 results and 0 notes are in the store" in nightgate("import", str(file))
    assert list(transfer.lines_of(other)) == file.read_text().splitlines()
    file.write_text(file.read_text() + "{}\n")
    assert "line 4 is not what this version exports" in refused("import", str(file))


def test_through_a_pipe_from_one_store_into_another(named, new_store):
    def command(*words, store, **more):
        line = [sys.executable, "-m", "nightgate.cli", "results", *words]
        return subprocess.run(
            line, env=os.environ | {VARIABLE: uri(store)}, capture_output=True, timeout=120, check=True, **more
        )

    other = new_store()
    out = command("export", store=named).stdout
    done = command("import", "-", store=other, input=out)
    assert done.stdout == b""
    assert command("export", "-", store=other).stdout == out != b""


@pytest.fixture
def bare(tmp_path, monkeypatch):
    monkeypatch.setenv("NIGHTGATE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NIGHTGATE_RUNS", str(tmp_path / "runs"))
    monkeypatch.delenv(VARIABLE, raising=False)
    return tmp_path / "home"


def test_without_a_store_it_is_said_so_and_none_is_made(bare):
    files.write_summary(summary(1))
    for words in (
        ["exclude", "night-001", "--reason", "x"],
        ["accept", "night-001", "--reason", "x"],
        ["notes"],
        ["export"],
    ):
        told = refused(*words)
        assert "there is no results store" in told, words
        assert VARIABLE in told
    assert "night-001" in nightgate("list")
    assert not (bare / "postgres").exists()


def test_the_embedded_store_is_started_for_the_command_alone(bare, named, monkeypatch, tmp_path):
    file = tmp_path / "nights.jsonl"
    nightgate("export", str(file))
    monkeypatch.delenv(VARIABLE)
    nightgate("import", str(file))
    nightgate("exclude", "night-001", "--reason", "the disk")
    assert "the disk" in nightgate("notes")
    assert StackLock(bare).holder() is None
    assert "notes about these runs, if there are any, are in the store, which is not up" in nightgate("list")


def test_the_store_of_a_stack_that_is_up_is_used(bare, store):
    store.save_summary(summary(1))
    holder = StackLock(bare)
    bare.mkdir(exist_ok=True)
    holder.acquire("up")
    try:
        holder.publish(ready=True, results_url=uri(store).replace("postgres://", "postgresql://"))
        nightgate("exclude", "night-001", "--reason", "the disk")
    finally:
        holder.release()
    assert [note.reason for note in store.notes()] == ["the disk"]


def test_what_holds_the_home_without_a_store_is_named(bare):
    bare.mkdir()
    (bare / "postgres/airflow/data").mkdir(parents=True)
    (bare / "postgres/airflow/data/PG_VERSION").write_text("18")
    holder = StackLock(bare)
    holder.acquire("measure")
    try:
        assert "another `nightgate measure`" in refused("notes")
    finally:
        holder.release()
