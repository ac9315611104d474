"""What killed processes left: each kind of leftover goes, and nothing that a living process works on."""

from __future__ import annotations

import os

import pytest
from filelock import FileLock

from nightgate.artifacts import Cache, Settings, leases, limit
from nightgate.artifacts.limit import sweep


@pytest.fixture
def kind(tmp_path):
    for name in ("one.1.building/deep", "one.2.trash", "two.3.building", "whole"):
        (tmp_path / "kind" / name).mkdir(parents=True)
    for name in ("one.lock", "three.lock", "one.1.building/deep/a"):
        (tmp_path / "kind" / name).touch()
    (tmp_path / ".state").mkdir()
    (tmp_path / ".state" / "admission.lock").touch()
    return tmp_path / "kind"


def test_leftovers_of_the_dead_go_and_are_named(tmp_path, kind):
    gone = sweep(tmp_path, Settings())
    names = ["one.1.building", "one.2.trash", "one.lock", "three.lock", "two.3.building"]
    assert sorted(gone) == [kind / name for name in names]
    assert [path.name for path in kind.iterdir()] == ["whole"]
    assert (tmp_path / ".state" / "admission.lock").exists(), "the cache's own files are no leftovers"
    assert sweep(tmp_path, Settings()) == []


def test_leftovers_of_a_key_that_is_being_built_stay(tmp_path, kind):
    held = FileLock(kind / "one.lock")
    held.acquire()
    assert {path.name for path in sweep(tmp_path, Settings())} == {"three.lock", "two.3.building"}
    assert {path.name for path in kind.iterdir()} == {"one.1.building", "one.2.trash", "one.lock", "whole"}
    held.release()
    before = len(os.listdir("/proc/self/fd"))
    sweep(tmp_path, Settings())
    assert len(os.listdir("/proc/self/fd")) == before


def test_what_cannot_be_removed_ends_no_sweep(tmp_path, kind):
    (kind / "one.0.building").touch()  # a file where a folder should be
    assert kind / "one.2.trash" in sweep(tmp_path, Settings())
    assert not (kind / "one.2.trash").exists() and not (kind / "three.lock").exists()


def test_a_reservation_that_its_owner_ends_at_the_same_moment_is_no_error(tmp_path, monkeypatch):
    monkeypatch.setattr(leases, "expired", lambda root, now: [root / "gone"])
    assert sweep(tmp_path, Settings()) == [tmp_path / "gone"]


def test_reservations_that_ended_and_claims_of_the_dead_go(tmp_path):
    folder = tmp_path / "kind" / "abc"
    leases.reserve(tmp_path, folder, "early", 1000.0)
    leases.reserve(tmp_path, folder, "late", 5000.0)
    (tmp_path / ".state" / "claims").mkdir()
    (tmp_path / ".state" / "claims" / "1-dead.json").write_text('{"bytes": 5}')
    gone = Cache(tmp_path, Settings(clock=lambda: 9000.0)).sweep()
    assert len(gone) == 1 and not gone[0].exists()
    assert leases.reserved(tmp_path, folder, 9000.0)
    assert limit.claims(tmp_path) == [] and list((tmp_path / ".state" / "claims").iterdir()) == []
