"""What earlier runs took, from the records on disk."""

import os

import pytest
from pydantic import Field
from support.specs import add
from support.stand_in import stand_in

from nightgate import paths, registry, steps
from nightgate.errors import InputError
from nightgate.measure import durations
from nightgate.measure.durations import Steps
from nightgate.record import Host, Record
from nightgate.results import files, history
from nightgate.suite import BenchmarkSettings, Takes


class Settings(BenchmarkSettings):
    known_variants = ("v", "w")
    rows: int = Field(default=10, ge=1)
    file: str | None = None


def rate(name, settings):
    assert name == "b"
    if settings.file:
        raise InputError("it is gone")
    return Takes(prepare=10 * settings.rows, measure=100 * settings.rows, lower="rows")


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    monkeypatch.setenv("NIGHTGATE_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("NIGHTGATE_HOME", str(tmp_path / "home"))


def settings(rows=10, **more):
    return Settings(variants=["v"], rows=rows, **more)


def estimates(one, work, fingerprint):
    return history.estimates({"b": one}, {"b": rate("b", one)}, work, fingerprint, rate)


def left(run_id, prepare, measure, *, age, rows=10, host="here", benchmark="b", device="cpu", **more):
    """A run on disk, ``age`` seconds old."""
    record = Record(
        benchmark=benchmark,
        variant="v",
        device=device,
        status="measured",
        settings=settings(rows).model_dump(mode="json"),
        host=Host(fingerprint=host, cpu="c", cores=2, memory_bytes=1) if host else None,
    ).model_copy(update=more)
    for name, value in (("prepare_seconds", prepare), ("measure_seconds", measure)):
        if value is not None:
            add(record, name, value)
    file = files.write_records(run_id, benchmark, device, [record])
    os.utime(file.parent, (10**9 - age, 10**9 - age))
    return record


def test_the_newest_runs_of_this_host_come_first():
    left("old", 1, 2, age=30)
    left("new", 3, 4, age=10, rows=20)
    left("elsewhere", 5, 6, age=5, host="there")
    left("unknown", 5, 6, age=5, host=None)
    left("gpu", 7, 8, age=20, device="gpu")
    left("half", 5, None, age=5)
    left("other-half", None, 5, age=5)
    (paths.runs_dir() / "torn").mkdir()
    (paths.runs_dir() / "torn" / "b-cpu.json").write_text("{")
    found = history.earlier("here")
    assert [(one.settings["rows"], one.steps) for one in found["b", "cpu"]] == [(20, Steps(3, 4)), (10, Steps(1, 2))]
    assert [one.steps for one in found["b", "gpu"]] == [Steps(7, 8)]
    assert len(found) == 2


def test_a_run_counts_once_however_many_variants_it_has():
    one = left("run", 1, 2, age=1)
    skipped = Record(benchmark="b", variant="a", device="cpu", status="skipped", settings=one.settings, host=one.host)
    files.write_records("run", "b", "cpu", [one, skipped, one.model_copy(update={"variant": "w"})])
    assert [one.steps for one in history.earlier("here")["b", "cpu"]] == [Steps(1, 2)]


def test_no_more_than_the_newest_runs_are_read():
    for number in range(21):
        left(f"run-{number:02d}", number, 1, age=number)
    assert [one.steps.prepare for one in history.earlier("here")["b", "cpu"]] == list(range(20))


def test_the_same_settings_decide_and_others_are_scaled():
    left("same", 30, 4000, age=20, rows=10)
    left("other", 99, 99, age=10, rows=11)
    found = estimates(settings(10), [("b", "cpu"), ("b", "gpu")], "here")
    assert found["b", "cpu"] == durations.Estimate(Steps(30.0, 4000.0), Steps(100, 1000), known=True)
    assert found["b", "gpu"] == durations.Estimate(Steps(100, 1000), Steps(100, 1000), known=False)
    scaled = estimates(settings(40), [("b", "cpu")], "there")["b", "cpu"]
    assert scaled == durations.Estimate(Steps(400, 4000), Steps(400, 4000), known=False)
    os.utime(paths.run_dir("other"), (1, 1))
    scaled = estimates(settings(40), [("b", "cpu")], "here")["b", "cpu"]
    assert scaled.known is False
    assert scaled.seconds.prepare == pytest.approx(400 * max(30 / 100, 99 / 110))
    assert scaled.seconds.measure == pytest.approx(4000 * (4000 / 1000 + 99 / 1100) / 2)


def test_a_setting_that_came_later_has_had_its_default(monkeypatch):
    record = left("run", 30, 40, age=1)
    del record.settings["file"]
    files.write_records("run", "b", "cpu", [record])
    assert estimates(settings(), [("b", "cpu")], "here")["b", "cpu"].known


@pytest.mark.parametrize("odd", [{"file": "x"}, {"gone": 1}, {"rows": 0}])
def test_a_run_whose_settings_say_nothing_any_more_is_left_out(odd):
    record = left("run", 30, 40, age=1)
    record.settings |= odd
    files.write_records("run", "b", "cpu", [record])
    found = estimates(settings(10), [("b", "cpu")], "here")["b", "cpu"]
    assert found == durations.Estimate(Steps(100, 1000), Steps(100, 1000), known=False)


def plan_of(dag_id="nightly_benchmarks", only="hybrid_ann", **overrides):
    return steps.preflight("a-run", dag_id=dag_id, scale="smoke", only=[only], devices=["cpu"], overrides=overrides)


def test_the_plan_holds_the_estimate_and_the_time_outs(caplog):
    caplog.set_level("INFO")
    plan = plan_of(**{"hybrid_ann.threads": 2})
    known, settings = registry.named("hybrid_ann"), plan.settings_of("hybrid_ann")
    takes = known.takes(settings, known.look(settings, {}))
    assert plan.estimate_seconds == {"hybrid_ann": {"cpu": Steps(takes.prepare, takes.measure)}}
    assert plan.timeout_seconds == {"hybrid_ann": {"cpu": Steps(3600.0, 3600.0)}}
    assert "hybrid_ann on cpu: about 69 s to prepare, 2 min to measure, by the settings" in caplog.text
    assert steps.Plan.model_validate(plan.model_dump(mode="json")) == plan
    assert plan.model_dump(mode="json")["timeout_seconds"]["hybrid_ann"]["cpu"] == {
        "prepare": 3600.0,
        "measure": 3600.0,
    }


def test_an_older_plan_without_them_has_the_longest(monkeypatch):
    plan = plan_of()
    older = plan.model_copy(update={"timeout_seconds": {}, "estimate_seconds": {}})
    assert older.timeout_of("hybrid_ann", "cpu", "measure") == 21_600.0
    plan.timeout_seconds["hybrid_ann"]["cpu"] = Steps(11, 12)
    assert [plan.timeout_of("hybrid_ann", "cpu", step) for step in ("prepare", "measure")] == [11, 12]
    assert plan.timeout_of("hybrid_ann", "gpu", "prepare") == 21_600.0


def test_the_history_of_the_host_ends_a_night_before_it_starts(caplog):
    from nightgate.measure import host

    caplog.set_level("INFO")
    plan = plan_of()
    record = Record(
        benchmark="hybrid_ann",
        variant="hybrid",
        device="cpu",
        status="measured",
        settings=plan.settings["hybrid_ann"],
        host=host.describe(),
    )
    add(record, "prepare_seconds", 2000)
    add(record, "measure_seconds", 7 * 3600)
    files.write_records("earlier", "hybrid_ann", "cpu", [record])
    with pytest.raises(InputError) as caught:
        plan_of()
    assert str(caught.value) == (
        "hybrid_ann on cpu: measure would take about 7.0 h, and its time-out is at most 6.0 h. "
        "Next step: lower rows, passes or controls of hybrid_ann"
    )
    by_hand = plan_of(dag_id=steps.BY_HAND)
    assert by_hand.timeout_seconds["hybrid_ann"]["cpu"].measure == pytest.approx(21 * 3600)
    assert by_hand.timeout_seconds["hybrid_ann"]["cpu"].prepare == pytest.approx(6000)
    assert "hybrid_ann on cpu: about 33 min to prepare, 7.0 h to measure, by earlier runs" in caplog.text


def test_what_only_the_rates_say_warns(caplog):
    plan_of(only="transcription", **{"transcription.audio_seconds": 6_000, "transcription.threads": 1})
    assert "transcription on cpu: measure would take about" in caplog.text
    assert "no run of these settings says so yet" in caplog.text


def test_hours_of_speech_on_a_large_model_are_refused():
    asked = {"transcription.audio_seconds": 36_000, "transcription.repeats": 50, "transcription.model": "large-v3"}
    with pytest.raises(InputError, match=r"transcription on cpu: measure .* lower audio_seconds, repeats or controls"):
        plan_of(only="transcription", **asked)


def test_a_gpu_that_this_host_lacks_is_not_waited_for(monkeypatch):
    from nightgate.measure import host

    facts = host.describe().model_copy(update={"gpu": None})
    monkeypatch.setattr(host, "describe", lambda: facts)
    asked = {"transcription.audio_seconds": 36_000, "transcription.repeats": 50, "transcription.model": "large-v3"}
    given = {"dag_id": "d", "scale": "smoke", "only": ["transcription"], "devices": ["gpu"], "overrides": asked}
    assert steps.preflight("a-run", **given).timeout_seconds["transcription"]["gpu"].measure == 21_600.0
    monkeypatch.setattr(host, "describe", lambda: facts.model_copy(update={"gpu": "a gpu"}))
    with pytest.raises(InputError, match="transcription on gpu"):
        steps.preflight("a-run", **given)


def test_the_steps_run_within_their_time_outs(monkeypatch):
    from types import SimpleNamespace

    from nightgate.measure import child

    plan = plan_of()
    plan.timeout_seconds["hybrid_ann"]["cpu"] = Steps(1000, 2000)
    seen = {}

    def prepare(*_):
        seen["prepare"] = child._left(None)
        return {"ready": True}

    def measure(*_):
        seen["measure"] = child._left(None)
        return [Record(benchmark="hybrid_ann", variant="hybrid", device="cpu", status="measured")]

    stand_in(monkeypatch, SimpleNamespace(prepare=prepare, measure=measure))
    steps.measure(plan, "hybrid_ann", "cpu", steps.prepare(plan, "hybrid_ann", "cpu"))
    assert 900 < seen["prepare"] <= 1000 < 1900 < seen["measure"] <= 2000
    assert child._left(None) == 3600.0
