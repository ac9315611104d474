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
    ],
)  # fmt: skip
def test_nonsense_is_refused_before_anything_runs(form, key, value):
    with pytest.raises(ParamValidationError):
        form[key].resolve(value)


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
