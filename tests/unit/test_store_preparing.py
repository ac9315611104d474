"""Preparing a store: what is loaded and what is refused before, and nothing left behind; without a server."""

from __future__ import annotations

import fcntl

import numpy as np
import pytest
from support.scripted_store import BUILT, World

from nightgate.errors import InputError, NotMeasured, ServiceUnavailable, Unavailable
from nightgate.vector_search import store_preparing
from nightgate.vector_search.store import Address
from nightgate.vector_search.store_preparing import StorePrepared, tidy_up


@pytest.fixture
def world(monkeypatch, tmp_path):
    return World(monkeypatch, tmp_path)


def test_every_variant_is_loaded_in_a_session_of_its_own(world):
    found = world.prepare()
    assert found == world.prepared(built={"half": BUILT, "graph": BUILT})
    assert StorePrepared.model_validate_json(found.model_dump_json()) == found
    load = ["load and index the vectors", "lock"]
    assert world.store.done == ["be prepared", "lock", "begin", *load, "ensure half", *load, "ensure graph"]


def test_loads_and_builds_have_the_host_to_themselves(world, tmp_path, monkeypatch):
    monkeypatch.setenv("NIGHTGATE_LOCK", str(tmp_path / "measure.lock"))
    held = []

    def ensure(*_):
        with open(tmp_path / "measure.lock") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                held.append(list(world.store.done))
        return BUILT

    monkeypatch.setattr(world.store, "ensure", ensure)
    world.prepare(controls=())
    assert len(held) == 1 and held[0][-1] == "lock", (
        "the host before the server, whose lock others hold as they measure"
    )


def test_a_control_that_cannot_be_built_is_noted(world):
    world.store.broken["ensure graph"] = ServiceUnavailable("no memory", "raise it")
    found = world.prepare()
    assert found.failed == {"graph": "no memory. Next step: raise it"} and list(found.built) == ["half"]
    assert "remove" not in world.store.done


@pytest.mark.parametrize(("keep", "left"), [(None, "remove"), (False, "remove"), (True, "drop drafts")])
@pytest.mark.parametrize("error", [ServiceUnavailable("no memory"), KeyboardInterrupt(), MemoryError()])
def test_what_fails_as_a_whole_leaves_nothing_but_what_is_kept(world, keep, left, error):
    world.store.broken["ensure half"] = error
    with pytest.raises(type(error)):
        world.prepare(keep=keep)
    assert world.store.done[-3:] == ["remove what was loaded", "try lock", left]
    assert "ensure graph" not in world.store.done


def test_the_embedded_server_keeps_what_is_whole(world):
    world.ours()
    world.store.broken["ensure half"] = ServiceUnavailable("no memory")
    with pytest.raises(ServiceUnavailable):
        world.prepare()
    assert world.store.done[-1] == "drop drafts"


def test_of_several_gated_ones_one_may_fail(world):
    asked = {"variants": ("single", "graph"), "controls": ()}
    world.store.broken["ensure single"] = ServiceUnavailable("no memory")
    assert world.prepare(**asked).failed == {"single": "no memory"}
    world.store.broken["ensure graph"] = ServiceUnavailable("none at all")
    with pytest.raises(ServiceUnavailable, match="none at all"):
        world.prepare(**asked)


# what the server lacks


def test_what_the_server_lacks_is_gated_over_float32(world, caplog):
    world.store.lacking["half"] = "it is too old for half"
    found = world.prepare()
    assert (found.gated, found.instead_of) == (("single",), {"single": "half"})
    reason = "it is too old for half, so single, the same index over float32, is gated instead"
    assert found.absent == {"half": reason} and reason in caplog.text
    assert [done for done in world.store.done if done.startswith("ensure")] == ["ensure single", "ensure graph"]


def test_a_control_that_the_server_lacks_is_absent_and_no_other_stands_in(world):
    world.store.lacking["graph"] = "no graph"
    found = world.prepare()
    assert (found.gated, found.absent) == (("half",), {"graph": "no graph"})


def test_a_server_that_can_have_none_of_the_gated_is_refused_before_a_row_is_made(world, monkeypatch):
    monkeypatch.setattr(store_preparing.data, "prepare", lambda *rest, **more: pytest.fail("rows were made"))
    world.store.lacking.update({"half": "no half", "single": "no single"})
    with pytest.raises(ServiceUnavailable) as refused:
        world.prepare()
    assert refused.value.what == "no half, and no single"
    assert refused.value.next_step == "use a newer Scripted there, or other variants or a smaller dim"


def test_one_that_nothing_stands_in_for_leaves_the_others(world):
    world.store.lacking["graph"] = "no graph"
    found = world.prepare(variants=("graph", "single"), controls=())
    assert (found.gated, found.absent) == (("graph", "single"), {"graph": "no graph"})


def test_a_variant_that_stands_in_for_one_that_is_gated_too_is_measured_once(world):
    world.store.lacking["half"] = "no half"
    found = world.prepare(variants=("half", "single"))
    assert (found.gated, found.instead_of) == (("single",), {}), "it was asked for itself"


# what no server could hold


def test_vectors_too_long_for_a_control_are_said_in_its_row(world):
    assert world.prepare(dim=2001).absent == {"graph": "Scripted indexes graph up to 2,000 dimensions and dim is 2,001"}
    assert world.prepare(dim=2000).absent == {}


@pytest.mark.parametrize("ask", ["prepare", "look"])
def test_vectors_that_no_index_of_it_can_hold_are_refused_before_it_is_asked(world, ask, tmp_path, monkeypatch):
    monkeypatch.setenv("SCRIPTED_URL", "")
    file = tmp_path / "long.npy"
    np.save(file, np.zeros((1900, 2001), np.float32) + np.eye(1900, 2001, dtype=np.float32))
    asked = world.settings(variants=("half", "single"), dataset=str(file), metric="cosine")
    refused = {
        "prepare": lambda: world.benchmark.prepare(asked, world.context),
        "look": lambda: world.benchmark.look(asked, world.context.services),
    }
    with pytest.raises(InputError) as caught:
        refused[ask]()
    assert caught.value.what == (
        "scripted_search.variants: single cannot be built: Scripted indexes single up to 2,000 dimensions and dim is 2,001"
    )
    assert caught.value.next_step == "use one of half, or fewer dimensions"
    assert [done for done in world.store.done if not done.startswith("look")] == []


def test_a_metric_that_it_does_not_have_is_refused_before_it_is_asked(world, tmp_path):
    file = tmp_path / "any.npy"
    np.save(file, np.random.default_rng(1).normal(size=(2000, 8)).astype(np.float32))
    assert world.prepare(dataset=str(file), metric="l2").gated == ("half",)
    world.store.done.clear()
    with pytest.raises(InputError, match="half cannot be built: Scripted does not compare by ip"):
        world.prepare(dataset=str(file), metric="ip")
    assert world.store.done == []


def test_an_address_is_looked_at_before_the_run(world, monkeypatch):
    monkeypatch.setenv("SCRIPTED_URL", " scripted://mine ")
    looked = world.benchmark.look(world.settings(), {})
    assert (looked.rows, looked.dim, looked.metric) == (2000, 16, "cosine")
    assert world.store.done == ["look scripted://mine"]


def test_a_gpu_is_not_available(world):
    with pytest.raises(Unavailable, match="Scripted searches on the CPU"):
        world.benchmark.prepare(world.settings(), type(world.context)("gpu", None))
    assert world.store.done == []


@pytest.mark.parametrize(("require", "kind"), [(False, Unavailable), (True, ServiceUnavailable)])
def test_without_a_server_it_is_skipped_unless_it_is_required(world, monkeypatch, require, kind):
    for name in ("SCRIPTED_URL", "SCRIPTED_EMBEDDED"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(kind, match="SCRIPTED_URL is not set"):
        world.benchmark.prepare(world.settings(require_service=require), type(world.context)("cpu", None))
    world.store.broken["be prepared"] = NotMeasured("enough")
    with pytest.raises(NotMeasured):
        world.prepare(require_service=require)
    assert world.store.required == [require]


# left behind


def test_a_run_that_ended_between_is_swept_unless_all_is_kept(world, monkeypatch):
    world.benchmark.tidy(world.settings(), world.context)
    assert world.store.done == ["remove what was loaded", "try lock", "remove"]
    world.store.done.clear()
    world.benchmark.tidy(world.settings(keep=True), world.context)
    world.ours()
    world.benchmark.tidy(world.settings(), world.context)
    world.benchmark.tidy(world.settings(), type(world.context)("cpu", None, services={"scripted": ""}))
    assert world.store.done == []


def test_what_another_run_uses_is_left_to_it(world):
    world.store.free = False
    tidy_up(world.store, Address("x"), world.store.remove)
    assert "remove" not in world.store.done


@pytest.mark.parametrize("error", [ServiceUnavailable("gone"), NotMeasured("refused")])
def test_what_cannot_be_removed_is_said(world, caplog, error):
    world.store.broken["remove what was loaded"] = error
    tidy_up(world.store, Address("x"), world.store.remove)
    assert f"collections of ours may be left on the Scripted server ({error})" in caplog.text
