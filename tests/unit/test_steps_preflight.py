"""The plan, and what is refused before anything starts: names, disk, memory and time."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from support.street import BOTH, HOST, Street, plan

from nightgate import paths, planning, registry, steps
from nightgate.artifacts import Cache
from nightgate.errors import InputError
from nightgate.measure import durations, host
from nightgate.measure.durations import Estimate, Steps
from nightgate.suite import Needs

GIB = 2**30


@pytest.fixture(autouse=True)
def street(monkeypatch, tmp_path):
    return Street(monkeypatch, tmp_path)


def preflight(**changes):
    return steps.preflight(**{"run_id": "a-run", "dag_id": "nightly_benchmarks", "scale": "smoke", **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"only": ["hybrid_ann", "hybrid"]}, "there is no benchmark 'hybrid'. Next step: use one of hybrid_ann, pgvector_search, transcription"),
        ({"devices": ["cpu", "tpu"]}, "there is no device 'tpu'. Next step: use one of cpu, gpu"),
        ({"only": ["pgvector_search"], "devices": ["gpu"]}, "pgvector_search does not run on gpu. Next step: choose another device"),
    ],
)  # fmt: skip
def test_what_is_unknown_is_named_with_what_there_is(changes, message):
    with pytest.raises(InputError) as caught:
        preflight(**changes)
    assert str(caught.value) == message


def test_the_plan_is_complete(monkeypatch):
    monkeypatch.setattr(planning, "utc_now", lambda: "2026-11-22T02:00:00.000Z")
    plan = preflight(only=["hybrid_ann"], overrides={"hybrid_ann.rows": 5000}, require_gpu=True, scheduled=True)
    assert (plan.run_id, plan.dag_id, plan.scale, plan.started_at) == (
        "a-run", "nightly_benchmarks", "smoke", "2026-11-22T02:00:00.000Z",
    )  # fmt: skip
    assert (plan.require_gpu, plan.scheduled) == (True, True)
    assert plan.work == [("hybrid_ann", "cpu"), ("hybrid_ann", "gpu")]
    assert list(plan.settings) == ["hybrid_ann"] and plan.settings["hybrid_ann"]["rows"] == 5000
    assert plan.overrides == {"hybrid_ann.rows": 5000, "benchmarks": ["hybrid_ann"], "require_gpu": True}
    assert {device: str(limit) for device, limit in plan.objectives["hybrid_ann"]["latency_p95"].items()} == {
        "cpu": "< 0.02", "gpu": "< 0.02",
    }  # fmt: skip
    assert not (paths.runs_dir() / "a-run").exists(), "a plan leaves nothing behind"
    assert plan.suite == "nightly"
    plain = preflight()
    assert (plain.require_gpu, plain.scheduled, plain.overrides) == (False, False, {})


def test_a_suite_of_ones_own_is_planned_by_its_name(tmp_path):
    own = tmp_path / "own.yaml"
    own.write_text("schema_version: 1\nname: search\nhybrid_ann: {variants: [hybrid], rows: 7000}\n")
    plan = preflight(suite_file=own, overrides={"hybrid_ann.rows": 7000})
    assert (plan.suite, plan.settings["hybrid_ann"]["rows"], plan.overrides) == ("search", 7000, {})
    assert {name for name, _ in plan.work} == {"hybrid_ann"}


def test_estimates_and_time_outs_are_of_their_own_step_and_device(monkeypatch, caplog):
    caplog.set_level("INFO")
    found = {
        ("hybrid_ann", "cpu"): Estimate(Steps(2000, 3000), Steps(1, 2), known=True),
        ("hybrid_ann", "gpu"): Estimate(Steps(9001, 5000), Steps(3, 4), known=False),
        ("pgvector_search", "cpu"): Estimate(Steps(50, 9000), Steps(5, 6), known=False),
    }
    asked = []
    monkeypatch.setattr(planning.history, "estimates", lambda *given: asked.append(given) or found)
    plan = preflight()
    assert plan.estimate_seconds == {
        "hybrid_ann": {"cpu": Steps(2000, 3000), "gpu": Steps(9001, 5000)}, "pgvector_search": {"cpu": Steps(50, 9000)},
    }  # fmt: skip
    assert plan.timeout_seconds == {
        "hybrid_ann": {"cpu": Steps(6000, 9000), "gpu": Steps(21_600, 15_000)}, "pgvector_search": {"cpu": Steps(3600, 21_600)},
    }  # fmt: skip
    by_hand = preflight(dag_id=steps.BY_HAND)
    assert by_hand.timeout_seconds["hybrid_ann"]["gpu"] == Steps(27_003, 15_000)
    assert by_hand.timeout_seconds["pgvector_search"]["cpu"] == Steps(3600, 27_000), "nothing ends what is run by hand"
    ((settings, takes, work, fingerprint, rate), _) = asked
    assert (work, fingerprint) == (plan.work, "here")
    assert settings == {name: plan.settings_of(name) for name in registry.installed()}
    looked = {name: known.looked.model_validate(plan.looked[name]) for name, known in registry.installed().items()}
    assert takes == {name: registry.named(name).takes(settings[name], found) for name, found in looked.items()}
    assert takes == {name: rate(name, plan.settings_of(name)) for name in registry.installed()}
    assert len({(each.prepare, each.measure) for each in takes.values()}) == 3
    assert "hybrid_ann on cpu: about 33 min to prepare, 50 min to measure, by earlier runs" in caplog.messages
    assert "hybrid_ann on gpu: about 2.5 h to prepare, 83 min to measure, by the settings" in caplog.messages


@pytest.mark.parametrize(("gpu", "devices"), [("a gpu", ["cpu", "gpu"]), (None, ["cpu"])])
def test_what_cannot_end_in_time_is_looked_for_where_it_can_run(monkeypatch, caplog, gpu, devices):
    monkeypatch.setattr(host, "describe", lambda: HOST.model_copy(update={"gpu": gpu}))
    asked = []

    def check(found, lower, *, nightly):
        asked.append(([device for _, device in found], lower, nightly))
        return ["100 % busy", "it may not end"]

    monkeypatch.setattr(durations, "check", check)
    preflight(only=["hybrid_ann"])
    preflight(only=["hybrid_ann"], dag_id=steps.BY_HAND)
    lower = {"hybrid_ann": "rows, passes or controls"}
    assert asked == [(devices, lower, True), (devices, lower, False)]
    warned = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warned == ["100 % busy", "it may not end"] * 2


@pytest.fixture
def needs(monkeypatch):
    """Disk: 36.05 GB together; memory: 3, 8 and 5 GiB. Returns what the host has, to be changed."""
    for name, (disk, memory) in {
        "transcription": (6 * 10**9, 3), "hybrid_ann": (10 * 10**9, 8), "pgvector_search": (20_050_000_010, 5),
    }.items():  # fmt: skip
        of = Needs(disk=disk, memory=memory * GIB)
        monkeypatch.setattr(type(registry.installed()[name]), "needs", lambda self, settings, looked, of=of: of)
    has = {"free": 36_050_000_010, "memory": 8 * GIB}

    def usage(path):
        assert path == paths.home()
        return SimpleNamespace(free=has["free"], total=10**15, used=1)

    monkeypatch.setattr(planning.shutil, "disk_usage", usage)
    monkeypatch.setattr(host, "describe", lambda: HOST.model_copy(update={"memory_bytes": has["memory"]}))
    return has


def test_disk_is_needed_for_everything_together_and_what_is_cached_counts(needs, monkeypatch):
    preflight()
    needs["free"] -= 3
    with pytest.raises(InputError):
        preflight()
    monkeypatch.setattr(Cache, "entries", lambda self: [SimpleNamespace(size=size) for size in (1, 2)])
    preflight()
    needs["free"] -= 1
    with pytest.raises(InputError):
        preflight()
    needs["free"] = 31_250_000_010
    with pytest.raises(InputError) as caught:
        preflight()
    assert str(caught.value) == (
        f"NIGHTGATE_HOME={paths.home()} has 31.3 GB free and this scale needs 36.1 GB. "
        "Next step: free some space, move NIGHTGATE_HOME, or lower the scale"
    )


def test_memory_is_needed_by_the_largest_alone(needs):
    preflight()
    needs["memory"] = 5 * GIB
    preflight(only=["pgvector_search", "transcription"])
    with pytest.raises(InputError) as caught:
        preflight()
    assert str(caught.value) == (
        "hybrid_ann needs 8.0 GiB of memory at this scale and the host has 5.0 GiB. "
        "Next step: lower rows, passes or controls of hybrid_ann, or use a larger host"
    )
    needs["memory"] -= 1
    with pytest.raises(InputError, match="^pgvector_search needs 5.0 GiB"):
        preflight(only=["pgvector_search"])


def test_what_should_be_known_before_the_run_is_logged_and_travels_with_the_plan(monkeypatch, caplog):
    kind = type(registry.installed()["hybrid_ann"])
    real = kind.look

    def look(self, settings, services):
        return real(self, settings, services).model_copy(update={"warnings": ("a control will be skipped",)})

    monkeypatch.setattr(kind, "look", look)
    plan = preflight(only=["hybrid_ann", "transcription"])
    warned = [line.message for line in caplog.records if line.levelname == "WARNING" and "skipped" in line.message]
    assert warned == ["hybrid_ann: a control will be skipped"]
    assert plan.looked["hybrid_ann"]["warnings"] == ["a control will be skipped"]
    assert plan.looked["transcription"]["warnings"] == []


def test_what_cannot_be_read_of_the_time_until_a_second_try_is_refused_at_once(monkeypatch, tmp_path):
    """Not in the middle of the night, when something is to be confirmed."""
    monkeypatch.setenv("NIGHTGATE_HOME", str(tmp_path))
    monkeypatch.setenv("NIGHTGATE_AGAIN_AFTER", "soon")
    with pytest.raises(InputError, match="NIGHTGATE_AGAIN_AFTER='soon' is no number of seconds"):
        steps.preflight("x", dag_id="test", scale="smoke")


@pytest.mark.parametrize("confirm", [True, False])
def test_whether_it_confirms_travels_with_the_plan(monkeypatch, tmp_path, confirm):
    monkeypatch.setenv("NIGHTGATE_HOME", str(tmp_path))
    plan = steps.preflight("x", dag_id="test", scale="smoke", only=["hybrid_ann"], confirm=confirm)
    assert steps.Plan.model_validate_json(plan.model_dump_json()).confirm is confirm
    assert steps.Plan.model_validate({**plan.model_dump(), "confirm": True}).confirm


def test_a_device_whose_queue_nobody_serves_is_left_out_with_the_reason():
    ours = plan(work=BOTH)
    assert steps.without(ours, {}) == ours
    found = steps.without(ours, {"gpu": "gpu.west"})
    reason = "no worker serves the queue gpu.west. Next step: start one: `airflow celery worker -q gpu.west`"
    assert (found.unserved, found.work) == ({"gpu": reason}, ours.work)


@pytest.mark.parametrize(
    ("devices", "changes"),
    [(["cpu"], {}), (["gpu"], {"require_gpu": True}), (["gpu"], {"work": BOTH[1:]}), (["cpu", "gpu"], {})],
)
def test_a_run_that_could_not_do_what_it_must_is_refused(devices, changes):
    queue = f"{devices[0]}.east"
    message = f"^no worker serves the queue {queue}. Next step: start one: `airflow celery worker -q {queue}`$"
    with pytest.raises(InputError, match=message):
        steps.without(plan(**{"work": BOTH, **changes}), {device: f"{device}.east" for device in devices})
