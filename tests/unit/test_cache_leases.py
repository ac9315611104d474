"""Who uses what: leases of this process and of others, and reservations to the second."""

from __future__ import annotations

import fcntl
import os

import pytest

from nightgate.artifacts import Settings, leases, limit, sharing
from nightgate.artifacts.events import Events
from nightgate.artifacts.store import MANIFEST


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "kind" / "abc"
    made.mkdir(parents=True)
    (made / MANIFEST).touch()
    return made


@pytest.fixture
def other(folder):
    """Another process, as far as the kernel sees: an open file of its own."""
    with open(folder / MANIFEST, "rb") as file:
        yield file


def tries(file, how):
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    fcntl.flock(file, fcntl.LOCK_UN)
    return True


def test_a_lease_is_shared_and_keeps_out_who_would_remove(folder, other):
    lease = leases.take(folder)
    assert tries(other, fcntl.LOCK_SH)
    assert not tries(other, fcntl.LOCK_EX)
    assert leases.exclusive(folder) is None
    lease.release()
    assert tries(other, fcntl.LOCK_EX)


def test_leases_of_one_process_are_counted(folder, other):
    first, second = leases.take(folder), leases.take(folder)
    assert first is second and first.count == 2
    first.release()
    assert not tries(other, fcntl.LOCK_EX)
    second.release()
    assert tries(other, fcntl.LOCK_EX)
    third = leases.take(folder)
    assert third is not first and third.count == 1
    third.release()
    assert folder not in leases._held


def test_who_removes_keeps_out_who_would_lease_and_lets_go(folder, other):
    file = leases.exclusive(folder)
    assert not tries(other, fcntl.LOCK_SH)
    assert leases.take(folder) is None
    os.close(file)
    assert tries(other, fcntl.LOCK_EX), "the attempt left nothing open"
    leases.take(folder).release()


def test_what_is_not_there_has_no_lease(tmp_path):
    (tmp_path / "file").touch()
    for missing in (tmp_path / "kind" / "abc", tmp_path / "file"):
        assert leases.take(missing) is None
        assert leases.exclusive(missing) is None


def test_a_lease_of_another_users_of_the_files_leaves_no_file_open(folder, other):
    before = len(os.listdir("/proc/self/fd"))
    fcntl.flock(other, fcntl.LOCK_EX)
    assert leases.take(folder) is None and leases.exclusive(folder) is None
    fcntl.flock(other, fcntl.LOCK_SH)
    assert leases.exclusive(folder) is None
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_draft_is_leased_under_its_later_name(tmp_path):
    draft, name = tmp_path / "abc.1.building", tmp_path / "abc"
    draft.mkdir()
    (draft / MANIFEST).touch()
    lease = leases.take(draft, name)
    assert lease.folder == name
    draft.rename(name)
    assert leases.take(name) is lease and lease.count == 2
    lease.release(), lease.release()


def test_a_lease_on_what_was_replaced_is_another_one(folder):
    old = leases.take(folder)
    folder.rename(folder.with_name("gone"))
    folder.mkdir()
    (folder / MANIFEST).touch()
    new = leases.take(folder)
    assert new is not old and new.count == 1
    old.release()
    assert leases.take(folder) is new, "the end of the old one is not that of the new"
    new.release(), new.release()


def test_holders_in_words(folder, tmp_path, monkeypatch):
    assert leases.holders(tmp_path, folder, 0) == []
    monkeypatch.setattr(leases, "pids_on", lambda path: [17, os.getpid()] if path == folder / MANIFEST else [])
    assert leases.holders(tmp_path, folder, 0) == ["pid 17", f"pid {os.getpid()}, this process"]
    leases.reserve(tmp_path, folder, "night", 100)
    assert leases.holders(tmp_path, folder, 200)[2:] == ["reserved for a measurement"]


def test_a_reservation_lasts_two_hours_to_the_second(folder, tmp_path):
    leases.reserve(tmp_path, folder, "night", 1000.0)
    [file] = (tmp_path / ".state" / "reserved").iterdir()
    assert file.stat().st_mtime == 1000 + 7200
    for now, lasts in ((1000, True), (8199, True), (8200, False), (999, False)):
        assert leases.reserved(tmp_path, folder, now) is lasts
        assert leases.expired(tmp_path, now) == ([] if lasts else [file])
    assert not leases.reserved(tmp_path, folder.with_name("abd"), 1000)
    assert not leases.reserved(tmp_path, folder.with_name("ab"), 1000)


def test_a_reservation_is_its_owners(folder, tmp_path):
    leases.reserve(tmp_path, folder, "one", 1000.0)
    leases.reserve(tmp_path, folder, "two", 5000.0)
    leases.reserve(tmp_path, folder, "two", 5000.0)
    leases.unreserve(tmp_path, folder, "two")
    assert leases.reserved(tmp_path, folder, 8000)
    assert not leases.reserved(tmp_path, folder, 8200), "that of the second is gone"
    leases.unreserve(tmp_path, folder, "one")
    leases.unreserve(tmp_path, folder, "one")
    assert not leases.reserved(tmp_path, folder, 5000)


def test_a_reservation_that_goes_while_it_is_looked_at_has_ended(tmp_path):
    assert leases._lasts(tmp_path / "gone", 0) is False


def test_artefacts_are_found_in_what_was_prepared(tmp_path):
    a, b, c = (tmp_path / "kind" / name for name in "abc")
    prepared = {
        "x": [str(a / "file"), {"deep": (b,)}], "y": a / "other", "n": 3, "none": None, "z": "kind/relative",
        "out": "/nowhere/kind/abc", "root": str(tmp_path), "kind": str(tmp_path / "kind"),
    }  # fmt: skip
    assert leases.folders_in(tmp_path, prepared) == {a, b}
    assert leases.folders_in(tmp_path, str(c)) == {c}
    assert leases.folders_in(tmp_path, []) == set()


def test_files_that_processes_share_are_everyones_that_the_umask_lets(tmp_path):
    before = os.umask(0)
    try:
        with (
            sharing.turn_on_host(tmp_path / "new" / "a.lock", lambda: None),
            limit.room(tmp_path, "a", Settings()) as room,
        ):
            Events(tmp_path).request("hit")
            leases.touch(tmp_path, tmp_path / "new" / "a.lock", 0.0)
            files = (tmp_path / "new" / "a.lock", room.file, Events(tmp_path).file, tmp_path / ".state" / "newest")
            modes = {path.stat().st_mode & 0o777 for path in files}
    finally:
        os.umask(before)
    assert modes == {0o666}


def test_a_name_is_that_of_an_open_file_or_of_another(tmp_path):
    path = tmp_path / "a"
    path.touch()
    with open(path) as file:
        assert leases._is_at(file.fileno(), path)
        path.rename(tmp_path / "b")
        assert not leases._is_at(file.fileno(), path)
        path.touch()
        assert not leases._is_at(file.fileno(), path)
        assert leases._is_at(file.fileno(), tmp_path / "b")


def test_holders_are_read_from_the_kernels_list(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.touch()
    stat = path.stat()
    name = f"{os.major(stat.st_dev):02x}:{os.minor(stat.st_dev):02x}:{stat.st_ino}"
    table = (
        f"1: FLOCK  ADVISORY  WRITE 30 {name} 0 EOF\n2: FLOCK  ADVISORY  READ 4 {name} 0 EOF\n"
        f"3: POSIX  ADVISORY  WRITE 5 {name} 0 EOF\n4: FLOCK  ADVISORY  READ 6 {name}9 0 EOF\n"
        f"5: FLOCK  ADVISORY  READ 4 {name} 0 EOF\n"
    )
    monkeypatch.setattr(leases.Path, "read_text", lambda of: table if str(of) == "/proc/locks" else "")
    assert leases.pids_on(path) == [4, 30]
    assert leases.pids_on(tmp_path / "missing") == []
