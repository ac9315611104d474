"""Measuring a store: which step asks what of which, and what a failure takes with it; without a server."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.scripted_store import BUILT, OURS, POINT, URL, World

from nightgate.errors import ChildError, ServiceUnavailable
from nightgate.vector_search.passes import Passes
from nightgate.vector_search.store import Address, KeptTuning, TunedFor
from nightgate.vector_search.timed import ClientsAnswer
from nightgate.vector_search.tuning import Tuning


@pytest.fixture
def world(monkeypatch, tmp_path):
    return World(monkeypatch, tmp_path)


def tuned_for(world, **other):
    asked = {"recall_target": 0.9, "recall_margin": world.settings().recall_margin, "host": "this host", "k": 5}
    return TunedFor(**asked | other)


def test_a_gated_variant_is_held_timed_and_put_under_load(world):
    found = world.measure()
    done = world.store.done
    assert done[:-3] == [
        "hold what was loaded", "lock", "load and index the vectors", "ensure half", "load and index the vectors",
        "ensure graph", "share", "together half graph", "time_queries half", "time_queries graph", "remember half",
        "remember graph", "open_loop_latency half", "many_clients half",
    ]  # fmt: skip
    assert done[-3:] == ["remove what was loaded", "try lock", "remove"]
    kept = world.store.remembered[0]
    assert kept.tuning == KeptTuning(asked=tuned_for(world), setting={"probes": 9}, reached=True, curve=[POINT])
    assert kept.model_copy(update={"tuning": None}) == BUILT
    record = found["half"]
    assert record.status == "measured" and record.gated
    assert record.metrics["recall_at_5"].value == pytest.approx(0.8)
    assert [record.metrics[name].value for name in ("load_seconds", "rows_per_second", "build_seconds", "index_bytes")] == [
        1, 2, 3, 4,
    ]  # fmt: skip
    assert record.metrics["throughput_qps"].value == 8 and "open_loop_p50" in record.metrics
    assert "peak_rss_bytes" not in record.metrics, "the memory of a client is not that of the server"
    assert record.detail["build"]["lists"] == 10 and "tuning" not in record.detail["build"]
    assert record.facts.provenance.versions == {"server": "1"}
    assert record.facts.not_measured == {} and record.finished_at and record.reason is None


def test_a_control_is_timed_and_no_more(world):
    record = world.measure()["graph"]
    assert [done for done in world.store.done if done.endswith(" graph")] == [
        "ensure graph", "together half graph", "time_queries graph", "remember graph",
    ]  # fmt: skip
    assert "open_loop_p50" not in record.metrics and record.status == "measured" and not record.gated


def test_each_child_is_asked_for_what_the_settings_say(world, tmp_path):
    world.measure()
    margin = world.settings().recall_margin
    for variant, least, most, queries in (("half", 7, 10, 500), ("graph", 2, 2, 200)):
        request, timeout = world.requests[variant, "time_queries"]
        work = request.work
        assert (work.k, work.vectors, work.truth, work.warmup) == (5, tmp_path, tmp_path, 50)
        assert work.subject.address == Address(URL) and work.subject.collection.variant == variant
        assert (request.setting, request.passes, request.depths) == (
            None, Passes(least, most, 0.02, a_turn=20, warm_again=1), (1, 5),
        )  # fmt: skip
        assert request.tuning == Tuning(0.9, margin, queries, warmup=20, give_up_early=True)
        assert timeout == 1200 + 0.5 * (100 * (10 + 2) + 2 * 5000), "of all that take turns"
    loop, loop_timeout = world.requests["half", "open_loop_latency"]
    crowd, crowd_timeout = world.requests["half", "many_clients"]
    assert (loop.rate, loop.seconds, loop.setting, loop_timeout) == (20, 0.5, {"probes": 9}, 120 + 10 * 0.5 * 3)
    assert (crowd.clients, crowd.seconds, crowd.setting, crowd_timeout) == ((1, 3), 0.5, {"probes": 9}, 135)


def test_what_the_servers_memory_holds_is_timed_in_turns(world, tmp_path):
    found = world.measure(control_passes=3)
    assert world.in_turns == [["half", "graph"]]
    assert {name: record.facts.turns for name, record in found.items()} == {
        "half": "every 20 queries, with graph", "graph": "every 20 queries, with half",
    }  # fmt: skip
    samples = np.load(tmp_path / "s.npz")
    assert samples["half/round_p50"].tolist() == samples["graph/round_p50"].tolist() == [6e-9, 6e-9]


def test_what_it_does_not_hold_is_timed_one_after_the_other(world):
    world.store.fits = False
    found = world.measure()
    assert world.in_turns == [] and found["half"].status == found["graph"].status == "measured"
    assert found["half"].facts.turns == "one after the other: the server's memory does not hold all, with graph"
    request, timeout = world.requests["half", "time_queries"]
    assert (request.passes, timeout) == (Passes(7, 10, 0.02), 600 + 0.5 * (100 * 10 + 5000))


def test_beside_another_environment_one_alone_takes_short_turns_too(world):
    world.context = replace(world.context, in_turns=True)
    found = world.measure(controls=())
    assert (found["half"].status, world.in_turns) == ("measured", [["half"]])
    (passes,) = [request.passes for (_, name), (request, _) in world.requests.items() if name == "time_queries"]
    assert (passes.a_turn, passes.warm_again) == (20, 1)


def test_beside_another_environment_nobody_loads_or_waits_for_the_other(world):
    """Both hold the lock with each other: who waited for it alone would wait for one that works only when it rests."""
    world.context = replace(world.context, in_turns=True)
    world.measure(controls=())
    assert [done for done in world.store.done if done.startswith(("lock", "share", "ensure", "standing"))] == [
        "share",
        "standing half",
    ]
    world.store.reused = None
    gone = world.measure(controls=())["half"]
    assert (gone.status, gone.reason) == (
        "failed",
        "what was loaded for both environments is gone. Next step: measure both once more",
    )
    never = world.measure(world.prepared(failed={"half": "no room"}), controls=())["half"]
    assert (never.status, never.reason) == ("failed", "its vectors could not be prepared: no room")


def test_one_alone_takes_turns_with_none(world):
    assert world.measure(controls=())["half"].facts.turns is None
    assert world.in_turns == [] and not [done for done in world.store.done if done.startswith("together")]


def test_a_failed_turn_is_the_failure_of_one(world):
    world.store.broken["time_queries graph"] = ServiceUnavailable("it went")
    found = world.measure()
    assert (found["half"].status, found["graph"].status, found["graph"].reason) == ("measured", "failed", "it went")
    assert "open_loop_p50" in found["half"].metrics


def test_an_address_shows_itself_to_nobody(world):
    world.measure()
    request, _ = world.requests["half", "time_queries"]
    assert request.work.subject.address.url == URL and "user@host" not in repr(request)


@pytest.mark.parametrize(
    ("made", "standing", "earlier"),
    [({}, {"reused": True}, False), ({"reused": True}, {"reused": True}, True), (None, {"reused": True}, True),
     ({}, {}, False), ({"built_at": "before"}, {"reused": True}, True)],
)  # fmt: skip
def test_figures_of_an_earlier_run_say_of_which_day_they_are(world, monkeypatch, made, standing, earlier):
    monkeypatch.setattr(world.store, "ensure", lambda *_: BUILT.model_copy(update=standing))
    built = {} if made is None else {"half": BUILT.model_copy(update=made)}
    facts = world.measure(world.prepared(built=built), controls=())["half"].facts
    days = {"load_seconds": "then", "rows_per_second": "then", "build_seconds": "then", "index_bytes": "then"}
    assert facts.earlier == (days if earlier else {})
    assert facts.builds == {"half": "then"}, "of before builds had an id"


# an index that is built for it


def confirming(world, **asked):
    world.context = replace(world.context, fresh=2)
    return world.measure(world.prepared(built={"half": BUILT.model_copy(update={"reused": True})}), **asked)["half"]


def test_a_confirming_run_indexes_anew_and_tunes_on_that(world):
    world.store.reused = True
    kept = KeptTuning(asked=tuned_for(world), setting={"probes": 6}, reached=True, curve=[POINT])
    world.store.tuning = kept
    record = confirming(world)
    assert [step for step in world.store.done if "index " in step] == [
        "load and index the vectors", "reindex half", "load and index the vectors",
    ], "the control keeps its own"  # fmt: skip
    assert world.requests["half", "time_queries"][0].setting is None
    assert world.requests["graph", "time_queries"][0].setting == {"probes": 6}
    assert record.facts.builds == {"half": "anew"} and record.metrics["build_seconds"].value == 9
    assert record.facts.earlier == {"load_seconds": "then", "rows_per_second": "then"}, "the index is of today"
    [remembered] = world.store.remembered
    assert (remembered.build, remembered.tuning.setting) == ("anew", {"probes": 9})


def test_what_was_loaded_just_now_is_not_indexed_twice(world):
    confirming(world)
    assert "reindex half" not in world.store.done
    world.store.reused = True  # it stands, since this run loaded it when it prepared
    world.measure(world.prepared(built={"half": BUILT}))
    assert "reindex half" not in world.store.done


def test_an_index_that_cannot_be_built_anew_fails_its_variant(world):
    world.store.reused, world.store.broken["reindex half"] = True, ServiceUnavailable("no room")
    record = confirming(world)
    assert (record.status, record.reason) == ("failed", "no room")


def test_a_night_keeps_its_index(world):
    world.store.reused = True
    world.measure()
    assert not [step for step in world.store.done if step.startswith("reindex")]


@pytest.mark.parametrize(
    ("metrics", "load", "cold"),
    [(("latency_p95", "recall_at_5"), 0, False), (("throughput_qps",), 0.5, False), (("open_loop_p99",), 0.5, False),
     (("latency_p50", "cold_start_p50"), 0, True)],
)  # fmt: skip
def test_what_confirms_is_of_the_gated_and_of_what_is_in_doubt(world, metrics, load, cold):
    asked = world.benchmark.to_confirm(world.settings(), metrics)
    assert (asked.variants, asked.controls, asked.load_seconds, asked.cold_start) == (("half",), (), load, cold)
    assert not world.benchmark.to_confirm(world.settings(cold_start=False), metrics).cold_start


def test_what_stands_in_says_for_which(world):
    found = world.measure(world.prepared(gated=("single",), instead_of={"single": "half"}, absent={"half": "too old"}))
    assert {name: (r.status, r.gated, r.instead_of) for name, r in found.items()} == {
        "single": ("measured", True, "half"), "graph": ("measured", False, None), "half": ("skipped", False, None),
    }  # fmt: skip


def test_how_a_collection_was_made_is_known_when_it_is_measured(world):
    world.measure(world.prepared(built={"graph": BUILT}))
    assert world.store.known == BUILT


def test_a_setting_that_was_tuned_for_the_same_is_used_again(world):
    kept = POINT.model_copy(update={"setting": {"probes": 6}})
    world.store.tuning = KeptTuning(asked=tuned_for(world), setting={"probes": 6}, reached=True, curve=[kept])
    record = world.measure()["graph"]
    assert world.requests["graph", "time_queries"][0].setting == {"probes": 6}
    assert world.store.remembered == []
    assert record.facts.tuning.curve == [kept] and record.facts.tuning.reached


@pytest.mark.parametrize("other", [{"recall_target": 0.91}, {"recall_margin": 0.5}, {"host": "another"}, {"k": 10}])
def test_a_setting_that_was_tuned_for_something_else_is_looked_for_anew(world, other):
    asked = tuned_for(world, **other)
    world.store.tuning = KeptTuning(asked=asked, setting={"probes": 6}, reached=True, curve=[POINT])
    world.measure()
    assert world.requests["graph", "time_queries"][0].setting is None


def test_without_seconds_under_load_there_is_no_load(world):
    world.measure(load_seconds=0)
    assert {name for _, name in world.requests} == {"time_queries"}


@pytest.mark.parametrize(
    ("step", "what", "lost", "kept"),
    [
        ("open_loop_latency half", "the open loop", "open_loop_p50", "throughput_qps"),
        ("many_clients half", "the throughput", "throughput_qps", "open_loop_p50"),
    ],
)
def test_a_step_under_load_that_fails_takes_nothing_with_it(world, tmp_path, step, what, lost, kept):
    world.store.broken[step] = ChildError("it crashed")
    record = world.measure()["half"]
    assert record.status == "measured" and record.facts.not_measured == {what: "it crashed"}
    assert record.reason == f"{what} was not measured: it crashed"
    assert lost not in record.metrics and {kept, "recall_at_5", "latency_p95"} <= set(record.metrics)
    assert set(np.load(tmp_path / "s.npz")) >= {"half/durations_ns", "half/ids", "graph/recall"}


def test_a_sweep_that_ends_early_keeps_what_it_has(world, monkeypatch):
    monkeypatch.setattr(World, "many_clients", lambda self, request: ClientsAnswer([], "1 clients at once: none"))
    record = world.measure()["half"]
    assert record.facts.not_measured == {"the clients": "1 clients at once: none"}
    assert "throughput_qps" not in record.metrics and record.status == "measured"


def test_a_tuning_that_cannot_be_kept_is_no_failure(world):
    world.store.broken["remember half"] = OSError("no comment")
    record = world.measure()["half"]
    assert record.facts.not_measured == {"keeping what was tuned": "OSError: no comment"}
    assert "open_loop_p50" in record.metrics


@pytest.mark.parametrize("step", ["ensure half", "time_queries half"])
def test_without_what_is_judged_a_variant_has_failed_and_the_next_is_measured(world, tmp_path, step):
    world.store.broken[step] = ServiceUnavailable("it went")
    found = world.measure()
    failed = found["half"]
    assert (failed.status, failed.reason, failed.metrics, failed.samples) == ("failed", "it went", {}, None)
    assert failed.finished_at and found["graph"].status == "measured"
    assert list(np.load(tmp_path / "s.npz")) == [
        f"graph/{name}" for name in ("durations_ns", "beside_ns", "processes", "recall", "ids")
    ]
    assert "remove" in world.store.done


@pytest.mark.parametrize("step", ["hold what was loaded", "lock", "share"])
def test_where_the_others_cannot_be_kept_away_nothing_is_timed(world, tmp_path, step):
    world.store.broken[step] = ServiceUnavailable("it went")
    found = world.measure()
    assert {name: (r.status, r.reason) for name, r in found.items()} == {
        "half": ("failed", "it went"), "graph": ("failed", "it went"),
    }  # fmt: skip
    assert not world.requests and not (tmp_path / "s.npz").exists()


def test_a_reason_of_its_own_outlives_the_end_of_the_lock(world):
    world.store.broken |= {"ensure half": ServiceUnavailable("no room"), "share": ServiceUnavailable("it went")}
    found = world.measure()
    assert (found["half"].reason, found["graph"].reason) == ("no room", "it went")


def test_what_could_not_be_prepared_is_not_tried_again(world):
    found = world.measure(world.prepared(failed={"graph": "no memory"}))
    assert found["graph"].reason == "its vectors could not be prepared: no memory"
    assert "ensure graph" not in world.store.done and found["half"].status == "measured"


def test_nothing_measured_leaves_no_samples(world, tmp_path):
    for variant in ("half", "graph"):
        world.store.broken[f"time_queries {variant}"] = ChildError("it crashed")
    world.measure()
    assert not (tmp_path / "s.npz").exists()


def test_an_interrupted_measurement_removes_what_was_loaded(world):
    world.store.broken["time_queries half"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        world.measure()
    assert world.store.done[-1] == "remove"
    world.store.done.clear()
    with pytest.raises(KeyboardInterrupt):
        world.measure(keep=True)
    assert "remove" not in world.store.done


def test_what_is_not_there_has_a_record_too(world):
    found = world.measure(world.prepared(absent={"half": "no halfvec", "graph": "no hnsw"}))
    assert [(r.status, r.reason, r.samples) for r in found.values()] == [
        ("failed", "no halfvec", None), ("skipped", "no hnsw", None),
    ]  # fmt: skip
    assert all(record.finished_at == record.started_at for record in found.values())


def test_what_a_store_can_say_better_is_said(world):
    world.store.explained = "both do not hold together; another index holds both"
    world.store.broken["open_loop_latency half"] = ChildError("it crashed")
    found = world.measure()
    assert found["graph"].reason == world.store.explained
    assert found["half"].reason == f"{world.store.explained}; the open loop was not measured: it crashed"


# the cold start


def test_the_cold_start_comes_after_everything_and_of_the_gated_only(world):
    world.ours()
    found = world.measure()
    assert world.store.done[-4:] == ["be restarted", "try lock", "restart", "cold_start half"], "and all is kept"
    request, timeout = world.requests["half", "cold_start"]
    assert (request.setting, timeout, request.work.subject.address) == ({"probes": 9}, 300, Address(OURS, ours=True))
    assert found["half"].metrics["cold_start_first"].value == 4
    assert "cold_start_first" not in found["graph"].metrics


def test_a_server_of_the_users_is_not_restarted(world):
    world.measure(keep=True)
    assert "restart" not in world.store.done
    world.ours()
    world.measure(cold_start=False)
    assert "restart" not in world.store.done


@pytest.mark.parametrize("step", ["restart", "cold_start half", "be restarted"])
def test_a_cold_start_that_fails_takes_nothing_with_it(world, step):
    world.ours()
    world.store.broken[step] = ServiceUnavailable("it did not come back")
    record = world.measure()["half"]
    assert record.status == "measured" and record.metrics["recall_at_5"].n == 3
    assert record.facts.not_measured == {"the cold start": "it did not come back"}


def test_a_server_that_another_run_uses_is_not_restarted(world):
    world.ours()
    world.store.free = False
    record = world.measure()["half"]
    assert record.facts.not_measured == {"the cold start": "another run uses the server"}
    assert "restart" not in world.store.done
