"""The artefact cache: built once, whole or not at all."""

from __future__ import annotations

import json
import multiprocessing
import os
import time

import pytest
from filelock import FileLock

from nightgate.artifacts import Cache, leases, sharing
from nightgate.errors import ArtifactError, InputError, NotMeasured


def write(folder):
    (folder / "a").write_bytes(b"x" * 1000)
    return {"rows": 3}


def test_a_second_request_finds_the_first_ones_work(tmp_path):
    cache = Cache(tmp_path)
    first = cache.get("kind", {"n": 1}, write)
    second = cache.get("kind", {"n": 1}, lambda folder: pytest.fail("built twice"))
    assert (first.hit, second.hit) == (False, True)
    assert first == second
    assert second.facts == {"rows": 3}
    assert cache.get("kind", {"n": 2}, write).digest != first.digest


def test_a_builder_that_fails_leaves_nothing(tmp_path):
    def half(folder):
        write(folder)
        raise RuntimeError("half way")

    cache = Cache(tmp_path)
    with pytest.raises(RuntimeError):
        cache.get("kind", {}, half)
    assert cache.entries() == []
    assert [p for p in tmp_path.rglob("*") if p.is_file() and p.suffix != ".lock"] == []
    with pytest.raises(ArtifactError, match="wrote no file"):
        cache.get("kind", {}, lambda folder: None)


def test_a_torn_artefact_is_built_again(tmp_path):
    cache = Cache(tmp_path)
    made = cache.get("kind", {}, write)
    (made.path / "a").write_bytes(b"x")
    assert not cache.get("kind", {}, write).hit
    assert (made.path / "a").stat().st_size == 1000


def test_a_flipped_byte_is_found_by_verify(tmp_path):
    cache = Cache(tmp_path)
    made = cache.get("kind", {}, write)
    assert cache.damaged() == []
    (made.path / "a").write_bytes(b"y" + b"x" * 999)
    assert cache.damaged() == [made.path]


def test_every_byte_is_read_once_per_process(tmp_path, monkeypatch):
    cache = Cache(tmp_path)
    made = cache.get("kind", {}, write)
    (made.path / "a").write_bytes(b"y" + b"x" * 999)
    assert cache.get("kind", {}, write).hit, "this process knows the artefact"
    monkeypatch.setattr(leases, "_verdicts", {})  # as in a process that has just started
    mended = cache.get("kind", {}, write)
    assert not mended.hit
    assert (mended.path / "a").read_bytes() == b"x" * 1000
    monkeypatch.setattr(leases, "_verdicts", {})
    assert cache.get("kind", {}, write).hit


def test_a_changed_fact_is_found_each_time(tmp_path):
    cache = Cache(tmp_path)
    manifest = cache.get("kind", {}, write).path / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"rows": 3', '"rows": 4'))
    assert cache.damaged() == [manifest.parent]
    again = cache.get("kind", {}, write)
    assert (again.hit, again.facts) == (False, {"rows": 3})


def test_artefacts_of_older_versions_are_kept(tmp_path):
    cache = Cache(tmp_path)
    made = cache.get("kind", {}, write)
    manifest = json.loads((made.path / "manifest.json").read_text())
    for name in ("id", "seal"):
        del manifest[name]
    (made.path / "manifest.json").write_text(json.dumps(manifest))
    assert cache.get("kind", {}, write).hit


def test_who_waits_for_a_builder_that_hangs_learns_its_pid(tmp_path):
    lock = tmp_path / "kind" / "digest.lock"
    held = FileLock(lock)
    held.acquire()
    with (
        pytest.raises(NotMeasured, match=rf"kind/digest is being built by pid {os.getpid()} for over"),
        sharing.turn_on_host(lock, lambda: None, patience=0.05),
    ):
        pytest.fail("somebody has it")
    with sharing.turn_on_host(lock, iter([None, "ready"]).__next__) as (found, waited):
        assert found == "ready" and waited >= sharing._HOST_POLL
    held.release()
    with sharing.turn_on_host(lock, lambda: None) as (found, waited):
        assert (found, waited) == (None, None)
    assert list(lock.parent.iterdir()) == []


def test_no_room_is_said_before_anything_is_built(tmp_path):
    with pytest.raises(InputError, match=r"no disk space for kind.*needs 1000000000.0 GB"):
        Cache(tmp_path).get("kind", {}, lambda folder: pytest.fail("started"), needs=10**18)


def test_collect_removes_the_least_recently_used_first(tmp_path):
    cache = Cache(tmp_path)
    old, new = cache.get("kind", {"n": 1}, write), cache.get("kind", {"n": 2}, write)
    os.utime(old.path / "manifest.json", (1, 1))
    old.release()
    assert [artifact.digest for artifact in cache.collect(1000)] == [old.digest]
    assert [artifact.digest for artifact in cache.entries()] == [new.digest]


def _slow(root, built):
    def build(folder):
        with open(built, "a") as file:
            file.write("built\n")
        time.sleep(0.3)
        return write(folder)

    Cache(root).get("kind", {}, build)


def test_two_processes_build_one_key_once(tmp_path):
    built = tmp_path / "built"
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_slow, args=(tmp_path, built)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    assert [worker.exitcode for worker in workers] == [0] * 4
    assert built.read_text() == "built\n"
