"""The shared store: two homes, one place where finished artefacts are pushed to and fetched from."""

from __future__ import annotations

import logging

import fsspec
import pytest

from nightgate.artifacts import Cache, Settings, store
from nightgate.artifacts.sharing import Remote
from nightgate.errors import InputError, ServiceUnavailable

BUCKET = "memory://bucket/cache"


@pytest.fixture(autouse=True)
def empty():
    memory = fsspec.filesystem("memory")
    yield memory
    memory.store.clear()


@pytest.fixture(params=["memory", "file"])
def url(request, tmp_path):
    return BUCKET if request.param == "memory" else f"file://{tmp_path}/shared"


def write(folder):
    (folder / "deep").mkdir()
    (folder / "deep" / "a").write_bytes(b"x" * 1000)
    (folder / "b").write_bytes(b"y")
    return {"rows": 3}


def home(tmp_path, name, url=BUCKET, **given):
    return Cache(tmp_path / name, Settings(url=url, **given))


def files(memory):
    return {path.rsplit("/", 1)[1]: path for path in memory.find("/bucket")}


def test_what_one_host_built_another_fetches(tmp_path, url):
    one, two = home(tmp_path, "one", url), home(tmp_path, "two", url)
    built = one.get("kind", {}, write)
    fetched = two.get("kind", {}, lambda folder: pytest.fail("built twice"))
    assert (fetched.facts, fetched.size, fetched.hit) == (built.facts, built.size, False)
    assert (fetched.path / "deep" / "a").read_bytes() == b"x" * 1000
    assert two.damaged() == []
    assert two.events.totals()["requests.fetched"] == 1
    assert two.get("kind", {}, write).hit


def test_a_byte_that_changed_in_the_store_is_found_and_mended(tmp_path, empty):
    home(tmp_path, "one").get("kind", {}, write)
    empty.pipe_file(files(empty)["a"], b"z" + b"x" * 999)
    two = home(tmp_path, "two")
    assert not two.get("kind", {}, write).hit
    totals = two.events.totals()
    assert (totals["requests.rebuilt"], totals["evictions.damaged"]) == (1, 1)
    assert len(empty.find("/bucket")) == 3, "the damaged files are gone"
    home(tmp_path, "three").get("kind", {}, lambda folder: pytest.fail("it is whole again"))


@pytest.mark.parametrize("what", ["manifest.json", "b"])
def test_what_is_missing_in_the_store_is_built_again(tmp_path, empty, what):
    home(tmp_path, "one").get("kind", {}, write)
    empty.rm(files(empty)[what])
    assert (home(tmp_path, "two").get("kind", {}, write).path / "b").read_bytes() == b"y"


def test_a_store_that_fails_costs_a_build_not_the_night(tmp_path, caplog):
    (tmp_path / "file").touch()
    cache = home(tmp_path, "one", f"file://{tmp_path}/file")  # a file where a folder should be
    with caplog.at_level(logging.WARNING):
        assert cache.get("kind", {}, write).facts == {"rows": 3}
    assert "shared store could not be" in caplog.text
    assert cache.get("kind", {}, write).hit


@pytest.mark.parametrize("part", ["cat_file", "get_file", "put_file", "mv"])
def test_a_driver_may_raise_what_it_likes(tmp_path, empty, monkeypatch, part):
    home(tmp_path, "one").get("kind", {}, write)

    def fails(*_, **__):
        raise RuntimeError("no credentials")

    monkeypatch.setattr(type(empty), part, fails)
    assert home(tmp_path, "two").get("kind", {}, write).facts == {"rows": 3}
    assert home(tmp_path, "two").get("kind", {"n": 2}, write).facts == {"rows": 3}


def test_a_store_without_its_driver_is_named(tmp_path):
    with pytest.raises(InputError, match=r"NIGHTGATE_CACHE_URL cannot be used.*nosuch"):
        home(tmp_path, "one", "nosuch://bucket").get("kind", {}, write)


def test_the_limit_holds_for_what_is_fetched(tmp_path):
    home(tmp_path, "one").get("kind", {}, write)
    two = home(tmp_path, "two", limit=1500)
    two.get("kind", {"n": 2}, write).release()
    two.get("kind", {}, lambda folder: pytest.fail("it is in the store"))
    assert len(two.entries()) == 1
    assert two.events.totals()["evictions.limit"] == 1


@pytest.mark.parametrize("name", ["../../escaped", "/escaped"])
def test_a_manifest_that_names_files_outside_is_refused(name):
    with pytest.raises(ValueError, match="outside"):
        store.loads(store.dumps({"files": {name: {}}, "built_at": ""}))


def test_a_store_that_cannot_be_written_is_named_before_the_night(tmp_path, url):
    home(tmp_path, "one", url).check_servers()
    (tmp_path / "file").touch()
    with pytest.raises(ServiceUnavailable, match="shared store of NIGHTGATE_CACHE_URL cannot be written"):
        home(tmp_path, "one", f"file://{tmp_path}/file").check_servers()


# File by file


@pytest.fixture
def remote(empty):
    return Remote(BUCKET)


@pytest.fixture
def built(tmp_path):
    """A finished folder and its manifest."""
    with store.draft_of(tmp_path / "kind" / "abc") as draft:
        write(draft)
        yield draft, store.seal(draft, "kind", {}, {}, 1.0)


BASE = "/bucket/cache"


def copies(memory):
    """The ids of the copies that have files there, and the manifest."""
    return {path.removeprefix(f"{BASE}/kind/abc/").split("/")[0] for path in memory.find(BASE)}


def test_an_artefact_is_seen_when_all_of_it_is_there(remote, empty, built, tmp_path, monkeypatch):
    folder, manifest = built
    moved, move = [], type(empty).mv

    def mv(fs, *of):
        moved.append((remote.manifest("kind/abc"), sorted(empty.find(BASE))))
        move(fs, *of)

    monkeypatch.setattr(type(empty), "mv", mv)
    assert remote.publish("kind/abc", manifest, folder, None) is True
    of_copy = [f"{BASE}/kind/abc/{manifest['id']}/{name}" for name in ("b", "deep/a", "manifest.json")]
    assert moved == [(None, of_copy)]
    assert sorted(empty.find(BASE)) == sorted([*of_copy[:2], f"{BASE}/kind/abc/manifest.json"])
    assert remote.manifest("kind/abc") == manifest
    target = tmp_path / "target"
    assert remote.fetch("kind/abc", manifest, target) is True
    assert ((target / "deep" / "a").read_bytes(), (target / "b").read_bytes()) == (b"x" * 1000, b"y")
    empty.pipe_file(of_copy[0], b"z")
    assert remote.fetch("kind/abc", manifest, target) is False, "torn"
    empty.rm(of_copy[0])
    assert remote.fetch("kind/abc", manifest, target) is False, "gone"


def test_the_first_copy_wins_and_the_losers_files_go(remote, empty, built):
    folder, manifest = built
    assert remote.publish("kind/abc", manifest | {"id": "first"}, folder, None) is True
    assert remote.publish("kind/abc", manifest | {"id": "second"}, folder, None) is False
    assert remote.manifest("kind/abc")["id"] == "first" and copies(empty) == {"first", "manifest.json"}


def test_a_copy_that_comes_while_ours_is_uploaded_wins(remote, empty, built, monkeypatch):
    folder, manifest = built
    put, late = type(empty).put_file, []

    def put_file(fs, *of):
        if not late:
            late.append(True)
            assert remote.publish("kind/abc", manifest | {"id": "quick"}, folder, None) is True
        put(fs, *of)

    monkeypatch.setattr(type(empty), "put_file", put_file)
    assert remote.publish("kind/abc", manifest | {"id": "slow"}, folder, None) is False
    assert copies(empty) == {"quick", "manifest.json"}


def test_a_copy_that_was_refused_is_replaced_and_no_other(remote, empty, built):
    folder, manifest = built
    remote.publish("kind/abc", manifest | {"id": "torn"}, folder, None)
    assert remote.publish("kind/abc", manifest | {"id": "late"}, folder, "older") is False
    assert remote.publish("kind/abc", manifest | {"id": "whole"}, folder, "torn") is True
    assert remote.manifest("kind/abc")["id"] == "whole" and copies(empty) == {"whole", "manifest.json"}


@pytest.mark.parametrize("text", [b"{", b"[]", b"{}"])
def test_a_damaged_manifest_in_the_store_is_none_and_replaced(remote, empty, built, text, caplog):
    folder, manifest = built
    empty.pipe_file(f"{BASE}/kind/abc/manifest.json", text)
    assert remote.manifest("kind/abc") is None
    assert caplog.messages == ["the manifest of kind/abc in the shared store is damaged"]
    assert remote.publish("kind/abc", manifest, folder, None) is True and remote.manifest("kind/abc") == manifest


def test_what_a_driver_raises_leaves_as_one_kind_of_failure(remote, built, monkeypatch, caplog):
    folder, manifest = built

    def fails(*_, **__):
        raise RuntimeError("no credentials")

    for part in ("put_file", "rm"):
        monkeypatch.setattr(type(remote.fs), part, fails)
    with pytest.raises(OSError, match="^RuntimeError: no credentials$"):
        remote.publish("k/a", manifest, folder, None)
    assert caplog.messages == ["files of k/a in the shared store could not be removed (RuntimeError: no credentials)"]
    for part in ("cat_file", "get_file", "pipe_file"):
        monkeypatch.setattr(type(remote.fs), part, fails)
    for call in (lambda: remote.manifest("k/a"), lambda: remote.fetch("k/a", manifest, folder)):
        with pytest.raises(OSError, match="^RuntimeError: no credentials$"):
            call()
    with pytest.raises(ServiceUnavailable) as caught:
        remote.check()
    assert caught.value.what == (
        "the shared store of NIGHTGATE_CACHE_URL cannot be written: RuntimeError: no credentials"
    )
    assert caught.value.next_step == "make it reachable, or unset NIGHTGATE_CACHE_URL"


def test_a_check_writes_and_leaves_nothing(remote, empty, monkeypatch):
    written, pipe = [], type(empty).pipe_file
    monkeypatch.setattr(
        type(empty), "pipe_file", lambda fs, path, text: written.append((path, text)) or pipe(fs, path, text)
    )
    remote.check()
    [(path, text)] = written
    assert path.startswith(f"{BASE}/") and path.endswith(".building") and text == b""
    assert empty.find(BASE) == [] and empty.isdir(BASE)


def test_an_address_that_cannot_be_used_is_named():
    with pytest.raises(InputError) as caught:
        Remote("nosuch://bucket")
    assert caught.value.what.startswith("NIGHTGATE_CACHE_URL cannot be used: ")
    assert caught.value.next_step == "write file:///folder, or install what it names"
    assert Remote("memory://bucket/x").base == "/bucket/x"
