"""The shared store: two homes, one place where finished artefacts are pushed to and fetched from."""

from __future__ import annotations

import logging

import fsspec
import pytest

from nightgate.artifacts import Cache, Settings, store
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
