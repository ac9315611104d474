"""The trigger form: bounds are the models' own, and an empty form changes nothing."""

from __future__ import annotations

from typing import ClassVar

import pytest
from airflow.sdk.exceptions import ParamValidationError

from nightgate import paths, registry
from nightgate.benchmark import Benchmark, Prepared
from nightgate.errors import InputError
from nightgate.orchestration import params
from nightgate.orchestration.params import check_conf, overrides, scale_of, trigger_params
from nightgate.suite import BenchmarkSettings, load_suite


@pytest.fixture
def form(nightly):
    return {key: nightly.params.get_param(key) for key in nightly.params}


def test_every_number_and_text_of_the_suite_is_in_the_form(form):
    for name, known in registry.installed().items():
        for key, facts in known.settings.model_json_schema()["properties"].items():
            kinds = {kind.get("type") for kind in facts.get("anyOf", [facts])}
            if kinds & {"integer", "number", "string"}:
                assert f"{name}.{key}" in form
    suite = load_suite(paths.suite_file(), registry.installed(), "smoke")
    for name, metrics in suite.objectives.items():
        for metric, limits in metrics.items():
            assert {f"objectives.{name}.{metric}.{of}" for of in limits} <= set(form), "of a device or of a variant"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("scale", "huge"), ("benchmarks", ["hybrid"]), ("benchmarks", []), ("devices", ["tpu"]), ("transcription.variants", ["none"]),
        ("hybrid_ann.rows", 1), ("hybrid_ann.rows", "many"), ("objectives.hybrid_ann.latency_p95.cpu", -1), ("require_gpu", "no"),
        ("hybrid_ann.metric", "cos"), ("hybrid_ann.arrival_rate", 0), ("hybrid_ann.hardness", 2), ("hybrid_ann.dataset", 5),
        ("objectives.hybrid_ann.recall_at_100.cpu", 1.7), ("objectives.hybrid_ann.recall_at_100.cpu", True), ("benchmarks", "transcription"),
        ("transcription.variants", []), ("set", ["hybrid_ann.rows"]), ("set", "hybrid_ann.rows=5"), ("scale", None), ("scale", ["smoke"]),
        ("require_gpu", None), ("hybrid_ann.rows", 5000.5), ("hybrid_ann.rows", True),
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
    suite = load_suite(paths.suite_file(), registry.installed(), "full")
    assert load_suite(paths.suite_file(), registry.installed(), "full", overrides(untouched)) == suite


def test_a_filled_form_overrides_by_path():
    filled = {key: param.value for key, param in trigger_params().items()}
    filled |= {
        "hybrid_ann.rows": 5000,
        "objectives.hybrid_ann.latency_p95.cpu": 1e-6,
        "transcription.variants": ["pywhispercpp"],
    }
    filled["set"] = {"hybrid_ann.controls": []}
    suite = load_suite(paths.suite_file(), registry.installed(), "smoke", overrides(filled))
    assert suite.settings["hybrid_ann"].rows == 5000
    assert suite.settings["hybrid_ann"].controls == ()
    assert suite.settings["transcription"].gated("cpu") == ("pywhispercpp",)
    assert suite.settings["transcription"].gated("gpu") == ("pywhispercpp", "openai-whisper")
    assert suite.objectives["hybrid_ann"]["latency_p95"]["cpu"].limit == 1e-6


def test_what_is_gated_on_a_gpu_only_is_a_field_where_there_is_such_a_thing(form):
    assert "The suite says openai-whisper." in form["transcription.gpu_variants"].description
    assert form["transcription.gpu_variants"].resolve([]) == []
    assert "hybrid_ann.gpu_variants" not in form
    suite = load_suite(
        paths.suite_file(), registry.installed(), "smoke", overrides(filled(**{"transcription.gpu_variants": []}))
    )
    assert suite.settings["transcription"].gated("gpu") == ("whisper-cpp-python", "pywhispercpp")


def filled(**changes):
    return {key: param.value for key, param in trigger_params().items()} | changes


def test_an_untouched_form_overrides_nothing():
    assert overrides(filled()) == {}


@pytest.mark.parametrize(
    "name",
    [
        "scale",
        "benchmarks",
        "devices",
        "require_gpu",
        "set",
        "transcription.variants",
        "hybrid_ann.rows",
        "hybrid_ann.controls",
    ],
)
def test_a_key_that_means_something_passes(name):
    check_conf({name: 1})


def test_every_field_of_the_form_may_be_a_key_of_the_conf():
    check_conf(filled())


def test_a_path_that_is_no_field_is_checked_with_the_suite():
    """The form has no field for a list; the path means what it says all the same, and a slip in it is refused."""
    given = {"hybrid_ann.controls": ["hnsw"]}
    check_conf(given)
    assert overrides(filled(**given)) == given
    check_conf({"hybrid_ann.rowz": 5000})
    with pytest.raises(InputError, match="no key 'rowz'; did you mean 'rows'"):
        load_suite(paths.suite_file(), registry.installed(), "smoke", overrides(filled(**{"hybrid_ann.rowz": 5000})))


@pytest.mark.parametrize(
    ("form", "message"),
    [
        (
            {"hybrid_ann.rows": 5000, "set": {"hybrid_ann.rows": 6000}},
            r'hybrid_ann.rows is 5000 in the form and 6000 in "set"',
        ),
        (
            {"transcription.variants": ["pywhispercpp"], "set": {"transcription.variants": ["faster-whisper"]}},
            "transcription.variants is .'pywhispercpp'",
        ),
    ],
)
def test_two_values_for_one_place_are_refused(form, message):
    with pytest.raises(InputError, match=message):
        overrides(filled(**form))


def test_null_at_a_path_that_is_no_field_is_no_empty_field():
    given = {"objectives.hybrid_ann.recall_at_100": None, "hybrid_ann.rowz": None}
    assert overrides(filled(**given)) == given
    assert overrides(filled(**{"hybrid_ann.rows": None, "objectives.hybrid_ann.recall_at_100.cpu": None})) == {}


def test_a_value_that_is_given_twice_alike_is_one():
    form = {"hybrid_ann.rows": 5000, "set": {"hybrid_ann.rows": 5000, "transcription.variants": ["pywhispercpp"]}}
    assert overrides(filled(**form)) == form["set"]


@pytest.mark.parametrize("chosen", [["pywhispercpp"], ["pywhispercpp", "whisper-cpp-python"]])
def test_engines_that_were_chosen_are_an_override(chosen):
    assert overrides(filled(**{"transcription.variants": chosen})) == {"transcription.variants": chosen}


class Bare(BenchmarkSettings):
    """What its author says nothing of."""

    known_variants: ClassVar[tuple[str, ...]] = ("one", "two")
    variants: tuple[str, ...] = ("one",)
    count: int = 3


class Another(Benchmark[Bare, Prepared]):
    name, title, settings, prepared, metrics = "another", "Another", Bare, Prepared, ()

    def prepare(self, settings, context): ...

    def measure(self, settings, prepared, context): ...


def test_settings_without_a_word_of_explanation_do_not_break_the_form(monkeypatch):
    known = {"another": Another(), **registry.installed()}
    monkeypatch.setattr(registry, "installed", lambda: known)
    fields = trigger_params()
    assert fields["another.count"].schema["title"] == "Count"
    assert fields["another.count"].description == "The suite says 3."
    assert fields["another.variants"].schema["title"] == "variants"
    assert fields["another.variants"].description == "The suite says one."
    assert '{"another.controls": ["two"]}' in fields["set"].description
    with pytest.raises(InputError, match=r"a path of the suite such as another\.controls"):
        check_conf({"rows": 5})


def test_an_objective_of_a_variant_has_a_field_of_its_own():
    fields = trigger_params()
    own = fields["objectives.pgvector_search.latency_p95.ivfflat_halfvec"]
    assert own.schema["title"] == "pgvector search: P95 latency of ivfflat_halfvec, in seconds"
    assert own.description == "The suite says < 30 ms."
    of_device = fields["objectives.pgvector_search.latency_p50.cpu"]
    assert of_device.schema["title"] == "pgvector search: P50 latency on cpu, in seconds"


def test_what_people_use_is_open_and_the_rest_is_folded(form):
    """A field without a section stands open."""
    assert [key for key, param in form.items() if "section" not in param.schema] == ["scale", "benchmarks", "devices"]


def test_the_form_offers_the_smallest_scale_and_says_how_long_each_takes_here(monkeypatch):
    assert trigger_params()["scale"].value == "smoke"
    assert trigger_params()["scale"].schema["values_display"] == {"smoke": "smoke", "full": "full"}
    monkeypatch.setattr(
        params.took, "known", lambda suite: {"smoke": 175.0, "full": 840.0} if suite == "nightly" else {}
    )
    assert trigger_params()["scale"].schema["values_display"] == {
        "smoke": "smoke, about 3 min on this host", "full": "full, about 14 min on this host",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("run_type", "conf", "scale"),
    [
        ("manual", {}, "smoke"), ("manual", {"scale": "full"}, "full"), ("scheduled", {}, "full"), ("backfill", {}, "full"),
        ("asset_triggered", {"scale": "smoke"}, "smoke"),
    ],
)  # fmt: skip
def test_a_person_runs_the_smallest_scale_and_the_schedule_the_real_night(run_type, conf, scale):
    assert scale_of(filled(**conf), conf, run_type) == scale
