"""Artefacts on disk: what is written, what counts as whole, and that it is on the disk before it has a name."""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path

import pytest

from nightgate.artifacts import store
from nightgate.errors import ArtifactError


@pytest.fixture
def draft(tmp_path):
    with store.draft_of(tmp_path / "kind" / "abc") as made:
        (made / "deep").mkdir()
        (made / "deep" / "b").write_bytes(b"hello")
        (made / "a").write_bytes(b"xyz")
        yield made


@pytest.fixture
def synced(monkeypatch):
    """The paths that were synced, in that order; a path is that of the moment."""
    seen, sync = [], os.fsync

    def noting(file):
        seen.append(Path(os.readlink(f"/proc/self/fd/{file}")))
        sync(file)

    monkeypatch.setattr(store.os, "fsync", noting)
    return seen


def made(draft):
    return store.seal(draft, "kind", {"n": 1}, {"rows": 3}, 2.5)


def test_a_digest_is_twenty_letters_of_all_that_decides():
    plain = hashlib.sha256(b'{"a": 1, "path": "/x", "z": [2]}').hexdigest()[:20]
    assert store.digest_of({"z": [2], "path": Path("/x"), "a": 1}) == plain
    assert store.digest_of({"z": [2], "path": "/x", "a": 1}) == plain
    assert store.digest_of({"z": [3], "path": "/x", "a": 1}) != plain


def test_only_folders_with_their_final_name_are_walked(tmp_path):
    for name in ("kind/b", "kind/a", "kind/a.1.building", "kind/b.2.trash", ".state/claims", "other/c"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "kind" / "a_file").touch()
    (tmp_path / "file").touch()
    assert list(store.walk(tmp_path)) == [tmp_path / "kind/a", tmp_path / "kind/b", tmp_path / "other/c"]
    assert list(store.walk(tmp_path / "missing")) == []


def test_a_manifest_says_what_was_built(draft, monkeypatch):
    monkeypatch.setattr(store, "utc_now", lambda: "2026-11-26T20:00:00.000Z")
    manifest = made(draft)
    assert len(manifest.pop("id")) == 32
    assert manifest == {
        "kind": "kind", "key": {"n": 1}, "facts": {"rows": 3}, "build_seconds": 2.5,
        "built_at": "2026-11-26T20:00:00.000Z",
        "files": {
            "a": {"size": 3, "sha256": hashlib.sha256(b"xyz").hexdigest()},
            "deep/b": {"size": 5, "sha256": hashlib.sha256(b"hello").hexdigest()},
        },
    }  # fmt: skip
    assert store.size_of(manifest) == 8


def test_a_builder_that_wrote_only_folders_wrote_nothing(tmp_path):
    with store.draft_of(tmp_path / "kind" / "abc") as empty:
        (empty / "deep").mkdir()
        with pytest.raises(ArtifactError, match="^the builder of kind wrote no file$"):
            made(empty)
    assert list((tmp_path / "kind").iterdir()) == []


def test_everything_is_on_the_disk_before_it_has_its_name(draft, synced, tmp_path):
    made(draft)
    assert {draft, draft / "a", draft / "deep", draft / "deep" / "b", draft / store.MANIFEST} <= set(synced)
    synced.clear()
    assert store.publish(draft, tmp_path / "kind" / "abc") is True
    assert synced == [tmp_path / "kind"], "and the name itself"
    assert not draft.exists()


def test_a_manifest_is_written_whole_before_it_is_synced(draft, monkeypatch):
    sizes = []

    def noting(file):
        if os.readlink(f"/proc/self/fd/{file}").endswith(store.MANIFEST):
            sizes.append(os.fstat(file).st_size)

    monkeypatch.setattr(store.os, "fsync", noting)
    made(draft)
    assert sizes == [(draft / store.MANIFEST).stat().st_size]


def test_bytes_match_or_do_not(draft):
    manifest = made(draft)
    assert store.matches(draft, manifest)
    (draft / "deep" / "b").write_bytes(b"hullo")
    assert not store.matches(draft, manifest)
    (draft / "deep" / "b").unlink()
    assert not store.matches(draft, manifest)


def test_a_folder_is_read_when_all_its_files_have_their_size(draft):
    manifest = made(draft)
    assert store.read(draft) == manifest
    (draft / "a").write_bytes(b"xyzz")
    assert store.read(draft) is None
    (draft / "a").write_bytes(b"abc")
    assert store.read(draft) == manifest, "bytes are looked at elsewhere"
    (draft / "a").unlink()
    assert store.read(draft) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda of: of | {"facts": {"rows": 4}},
        lambda of: of | {"seal": "0" * 64},
        lambda of: of | {"seal": ""},
        lambda of: [of],
        lambda of: {name: of[name] for name in of if name not in ("files", "seal")},
        lambda of: {name: of[name] for name in of if name not in ("id", "built_at", "seal")} | {"files": {}},
    ],
)
def test_a_manifest_that_was_changed_is_none(draft, change):
    made(draft)
    written = json.loads((draft / store.MANIFEST).read_bytes())
    (draft / store.MANIFEST).write_text(json.dumps(change(written)))
    assert store.read(draft) is None


def test_a_manifest_without_a_seal_is_an_older_ones():
    old = {"files": {"a/b": {"size": 1}}, "built_at": "then"}
    assert store.loads(json.dumps(old).encode()) == old | {"id": "then"}
    assert store.loads(store.dumps(old | {"id": "it"})) == old | {"id": "it"}
    assert store.dumps(old).startswith('{\n "files": {'), "for who reads it with the eye"
    with pytest.raises(ValueError, match="the manifest was changed"):
        store.loads(json.dumps(old | {"seal": "wrong"}).encode())
    with pytest.raises(ValueError, match="the manifest names files outside its folder"):
        store.loads(json.dumps(old | {"files": {"a/../../b": {}}}).encode())


def test_a_seal_does_not_depend_on_the_order_of_names():
    plain = {"files": {}, "built_at": "then", "a": {"z": 1, "b": 2}}
    seal = hashlib.sha256(b'{"a": {"b": 2, "z": 1}, "built_at": "then", "files": {}}').hexdigest()
    assert json.loads(store.dumps(plain))["seal"] == seal
    assert store.loads(json.dumps(plain | {"seal": seal}).encode()) == plain | {"id": "then"}


def test_what_dead_builders_left_of_a_key_is_cleared_and_a_draft_goes_with_its_block(tmp_path):
    kind = tmp_path / "kind"
    for name in ("abc.1.building/x", "abc.2.trash", "abcd.3.building", "abd.4.trash", "abc"):
        (kind / name).mkdir(parents=True)
    (kind / "abc.lock").touch()
    store.clear(kind / "abc")
    left = {"abc", "abc.lock", "abcd.3.building", "abd.4.trash"}
    assert {path.name for path in kind.iterdir()} == left
    with store.draft_of(kind / "abc") as draft, store.draft_of(kind / "abc") as other:
        assert draft.is_dir() and list(draft.iterdir()) == []
        assert re.fullmatch(r"abc\.[0-9a-f]{12}\.building", draft.name) and draft.parent == kind
        assert draft.is_dir() and other.name != draft.name, "a second draft leaves the first alone"
    assert {path.name for path in kind.iterdir()} == left


def test_what_cannot_be_removed_keeps_nobody_from_building(tmp_path, monkeypatch):
    (tmp_path / "kind" / "abc.1.building").mkdir(parents=True)
    asked = []
    monkeypatch.setattr(store.shutil, "rmtree", lambda path, **given: asked.append((path.name, given)))
    store.clear(tmp_path / "kind" / "abc")
    assert asked == [("abc.1.building", {"ignore_errors": True})]


def test_the_first_to_be_published_stays(draft, tmp_path):
    folder = tmp_path / "kind" / "abc"
    with store.draft_of(folder) as first:
        (first / "b").touch()
        assert store.publish(first, folder) is True
    made(draft)
    assert store.publish(draft, folder) is False
    assert [path.name for path in folder.iterdir()] == ["b"] and (draft / "a").exists()


def test_a_name_that_cannot_be_given_is_said(draft, tmp_path):
    with pytest.raises(FileNotFoundError):
        store.publish(draft, tmp_path / "missing" / "abc")


def test_what_is_discarded_is_out_of_sight_before_it_is_removed(tmp_path, monkeypatch):
    folder, seen, remove = tmp_path / "kind" / "abc", [], store.shutil.rmtree
    folder.mkdir(parents=True)
    (folder / "a").touch()

    def noting(path, **given):
        seen.append(
            (
                folder.exists(),
                path.parent == folder.parent,
                bool(re.fullmatch(r"abc\.[0-9a-f]{12}\.trash", path.name)),
                given,
            )
        )
        remove(path, **given)

    monkeypatch.setattr(store.shutil, "rmtree", noting)
    assert store.discard(folder) is True
    assert seen == [(False, True, True, {"ignore_errors": True})]
    assert list(folder.parent.iterdir()) == []
    assert store.discard(folder) is False
