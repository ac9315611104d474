"""The trigger form: bounds are the models' own, and an empty form changes nothing."""

from __future__ import annotations

import pytest
from airflow.sdk.exceptions import ParamValidationError

from nightgate import benchmarks, paths
from nightgate.orchestration.params import overrides, trigger_params
from nightgate.suite import load_suite


@pytest.fixture
def form(nightly):
    return {key: nightly.params.get_param(key) for key in nightly.params}


def test_every_number_and_text_of_the_suite_is_in_the_form(form):
    for name, model in benchmarks.SETTINGS.items():
        for key, facts in model.model_json_schema()["properties"].items():
            kinds = {kind.get("type") for kind in facts.get("anyOf", [facts])}
            if kinds & {"integer", "number", "string"}:
                assert f"{name}.{key}" in form
    suite = load_suite(paths.suite_file(), benchmarks.SETTINGS, "smoke")
    for name, metrics in suite.objectives.items():
        for metric in metrics:
            assert f"objectives.{name}.{metric}.cpu" in form


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("scale", "huge"), ("benchmarks", ["hybrid"]), ("benchmarks", []), ("devices", ["tpu"]), ("engines", ["none"]),
        ("hybrid_ann.rows", 1), ("hybrid_ann.rows", "many"), ("objectives.hybrid_ann.latency_p95.cpu", -1), ("require_gpu", "no"),
        ("hybrid_ann.metric", "cos"), ("hybrid_ann.arrival_rate", 0), ("hybrid_ann.hardness", 2), ("hybrid_ann.dataset", 5),
    ],
)  # fmt: skip
def test_nonsense_is_refused_before_anything_runs(form, key, value):
    with pytest.raises(ParamValidationError):
        form[key].resolve(value)


def test_a_choice_is_offered_and_may_be_left_open(form):
    metric = form["hybrid_ann.metric"]
    assert metric.schema["enum"] == ["cosine", "l2", "ip", None]
    assert [metric.resolve(value) for value in ("l2", None)] == ["l2", None]
    assert form["hybrid_ann.dataset"].resolve("/data/mine.hdf5") == "/data/mine.hdf5"


def test_a_bound_is_told_as_it_is_kept(form):
    assert "Above 0, to 1,000,000." in form["hybrid_ann.arrival_rate"].description
    assert "From 0 to 1." in form["hybrid_ann.hardness"].description


def test_an_empty_form_keeps_the_suites_values():
    untouched = {key: param.value for key, param in trigger_params().items()}
    suite = load_suite(paths.suite_file(), benchmarks.SETTINGS, "full")
    assert load_suite(paths.suite_file(), benchmarks.SETTINGS, "full", overrides(untouched)) == suite


def test_a_filled_form_overrides_by_path():
    filled = {key: param.value for key, param in trigger_params().items()}
    filled |= {"hybrid_ann.rows": 5000, "objectives.hybrid_ann.latency_p95.cpu": 1e-6, "engines": ["pywhispercpp"]}
    filled["set"] = {"hybrid_ann.controls": []}
    suite = load_suite(paths.suite_file(), benchmarks.SETTINGS, "smoke", overrides(filled))
    assert suite.settings["hybrid_ann"].rows == 5000
    assert suite.settings["hybrid_ann"].controls == ()
    assert suite.settings["transcription"].variants == ("pywhispercpp",)
    assert suite.objectives["hybrid_ann"]["latency_p95"]["cpu"].limit == 1e-6
