"""The suite file: layers, overrides, and errors that name the line and the nearest key."""

from __future__ import annotations

from typing import ClassVar

import pytest
from pydantic import Field
from support.specs import all_specs

from nightgate.errors import InputError
from nightgate.suite import BenchmarkSettings, Limit, load_suite, parse_overrides

SUITE = """\
schema_version: 1
objectives:
  walk:
    xrt: {cpu: "<= 2.0", gpu: "<= 0.5"}
    latency_p95: "< 0.02"
walk:
  variants: [slow]
  steps: 3
scales:
  full:
    walk: {steps: 30}
"""


class Walk(BenchmarkSettings):
    known_variants: ClassVar = ("slow", "fast")
    steps: int = Field(default=1, ge=1, le=100)
    share: float = 0.5
    sizes: tuple[int, ...] = ()
    still: bool = False


class Declared:
    """As a benchmark declares itself; its metrics are those of the real ones."""

    devices = ("cpu", "gpu")

    def __init__(self, settings):
        self.settings, self.all_metrics = settings, tuple(all_specs().values())

    def measures(self, settings):
        depths = {f"recall_at_{depth}" for depth in getattr(settings, "recall_depths", ())}
        return tuple(name for name in all_specs() if not name.startswith("recall_at_") or name in depths)

    def may_gate(self, settings):
        return settings.variants


@pytest.fixture
def load(tmp_path):
    def load(text=SUITE, scale="smoke", **overrides):
        file = tmp_path / "suite.yaml"
        file.write_text(text)
        return load_suite(file, {"walk": Declared(Walk)}, scale, overrides.get("set"))

    return load


def test_a_suite_is_called_as_it_says_or_as_its_file(load):
    assert load().name == "suite"
    assert load(f"name: search.v2\n{SUITE}").name == "search.v2"


@pytest.mark.parametrize("name", ["", "a b", "-a", "a" * 65, "über", "[a]", "7", "null"])
def test_a_name_that_no_label_could_have_is_refused_with_its_line(load, name):
    with pytest.raises(InputError, match=r"suite.yaml line [12]: the suite cannot be called"):
        load(f"name: {name}\n{SUITE}")


def test_a_suite_is_strict_where_it_says_so(load):
    assert [load(text).strict for text in (SUITE, f"strict: false\n{SUITE}", f"strict: true\n{SUITE}")] == [
        False, False, True,
    ]  # fmt: skip


@pytest.mark.parametrize("value", ["1", "'true'", "null", "maybe", "[true]"])
def test_what_is_neither_strict_nor_not_is_refused_with_its_line(load, value):
    with pytest.raises(InputError, match="suite.yaml line 1: strict is .* Next step: write true or false"):
        load(f"strict: {value}\n{SUITE}")


def test_a_suite_names_the_hosts_that_measure_it(load):
    said = [
        load(text).hosts
        for text in (SUITE, f"hosts: any\n{SUITE}", f"hosts: all\n{SUITE}", f"hosts: [b, a-2, b]\n{SUITE}")
    ]
    assert said == ["any", "any", "all", ("b", "a-2")]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("one", "hosts is 'one'. Next step: write any, all, or a list of names"), ("[]", r"hosts is \[\]"), ("{a: 1}", "hosts is {"),
        ("[a b]", "a host cannot be called 'a b'. Next step: use up to 64"), ("[a.b]", "a host cannot be called 'a.b'"), ("[7]", "a host cannot be called 7"),
    ],
)  # fmt: skip
def test_what_can_be_no_host_is_refused_with_its_line(load, value, said):
    with pytest.raises(InputError, match=f"suite.yaml line 1: {said}"):
        load(f"hosts: {value}\n{SUITE}")


def test_the_scale_lies_over_the_base_and_the_override_over_both(load):
    assert load().settings["walk"].steps == 3
    assert load(scale="full").settings["walk"].steps == 30
    assert load(scale="full", set={"walk.steps": 7}).settings["walk"].steps == 7


def test_objectives_hold_per_device_or_for_all(load):
    objectives = load().objectives["walk"]
    assert objectives["xrt"] == {"cpu": Limit(op="<=", limit=2.0), "gpu": Limit(op="<=", limit=0.5)}
    assert objectives["latency_p95"]["gpu"] == Limit(op="<", limit=0.02)


def test_a_bare_number_keeps_the_operator_and_a_text_replaces_both(load):
    changed = load(set=parse_overrides(["objectives.walk.latency_p95=1e-6", "objectives.walk.xrt.cpu=< 3"])).objectives
    assert changed["walk"]["latency_p95"]["cpu"] == Limit(op="<", limit=1e-6)
    assert changed["walk"]["xrt"]["cpu"] == Limit(op="<", limit=3.0)
    assert changed["walk"]["xrt"]["gpu"] == Limit(op="<=", limit=0.5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            SUITE.replace("  steps: 3", "  stepz: 3"),
            r"suite.yaml line 8: walk has no key 'stepz'; did you mean 'steps'",
        ),
        (
            SUITE.replace("walk: {steps: 30}", "walk: {steps: 300}"),
            r"line 11: walk.steps=300.*less than or equal to 100",
        ),
        (
            SUITE.replace("latency_p95", "latency_p59"),
            r"line 5: objectives.walk has no key 'latency_p59'; did you mean",
        ),
        (SUITE.replace('"< 0.02"', "0.02"), r"line 5: 0.02 is not an objective"),
        (SUITE.replace("[slow]", "[slwo]"), r"line 7.*no variant 'slwo'; did you mean 'slow'"),
        (SUITE.replace("  full:", "  ful:"), r"line 10: scales has no key 'ful'; did you mean 'full'"),
        (SUITE + "wlak: {}\n", r"line 12: the suite has no key 'wlak'; did you mean 'walk'"),
        (SUITE.replace("schema_version: 1", "schema_version: 2"), r"line 1: schema_version must be 1"),
        (SUITE.replace("schema_version: 1", "schema_version: true"), r"line 1: schema_version must be 1"),
        (SUITE.replace("  steps: 3", "  steps: 3\n  steps: 4"), r"line 9: walk.steps stands on line 8 already"),
        (SUITE.replace("    walk: {steps: 30}", "    walk: 30"), r"line 11: scales.full.walk must be a mapping"),
        (SUITE.replace("  full:\n    walk: {steps: 30}", "  full: []"), r"line 10: scales.full must be a mapping"),
        (SUITE.split("walk:\n  variants")[0] + "walk: 0\n", r"line 6: walk must be a mapping"),
        (SUITE.replace("  steps: 3", "  steps: false"), r"line 8: walk.steps=False: it is neither true nor false"),
        ("- a list", "must be a mapping"),
        ("{", "not valid YAML"),
    ],
)
def test_a_typo_names_its_line_and_the_nearest_key(load, text, message):
    with pytest.raises(InputError, match=message):
        load(text)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("walk.stepz=1", "--set walk.stepz: walk has no key 'stepz'; did you mean 'steps'"),
        ("walk.steps=0", "--set walk.steps: walk.steps=0.*greater than or equal to 1"),
        ("objectives.walk.xrtt=1", "no objective 'xrtt'; did you mean 'xrt'"),
        ("objectives.walk.xrt=nan", "must be finite"),
        ("objectives.walk.xrt=soon", "'soon' is not a number"),
        ("wlak.steps=1", "no 'wlak'; did you mean 'walk'"),
        ("walk=1", "a path is BENCHMARK.KEY"),
        ("walk.steps", "is not PATH=VALUE"),
        ("walk.steps=true", "walk.steps=True: it is neither true nor false"),
        ("walk.sizes=[1, true]", "it is neither true nor false"),
        ("walk.share=.nan", "walk.share=nan: .*finite number"),
        ("walk.share=.inf", "walk.share=inf: .*finite number"),
        ("walk.variants=slow", r"walk.variants='slow' \(Gated variants\): it must be a list, such as \[a, b\]"),
        ("walk.variants=[]", "at least 1 item"),
        ("walk.steps=many", "valid integer"),
        ("objectives.walk=1", "a path is objectives.BENCHMARK.METRIC"),
        ("objectives.walk.xrt.cpu.now=1", "a path is objectives.BENCHMARK.METRIC"),
        ("objectives.wlak.xrt=1", "no objective 'wlak'; did you mean 'walk'"),
        (
            "objectives.walk.xrt.gpuu=1",
            "no device or variant 'gpuu'; did you mean 'gpu'.*use one of cpu, gpu, slow, fast",
        ),
        ("objectives.walk.xrt=true", "True is not a number"),
        ("objectives.walk.qps=5", 'the suite has no objective on qps, and 5 has no operator.*">= 5"'),
        ("objectives.walk.batch_xrt=2", 'no objective on batch_xrt, and 2 has no operator.*"<= 2"'),
        ("objectives.walk.qps=null", "there is no objective 'qps'"),
    ],
)
def test_a_bad_override_is_refused(load, override, message):
    with pytest.raises(InputError, match=message):
        load(set=parse_overrides([override]))


def test_a_value_that_is_given_twice_is_refused():
    with pytest.raises(InputError, match="--set walk.steps is given twice"):
        parse_overrides(["walk.steps=1", " walk.steps =2"])


@pytest.mark.parametrize("text", ["", "  "])
def test_a_limit_that_is_empty_drops_no_objective(load, text):
    """A variable of the shell that is not set took the gate away."""
    with pytest.raises(InputError, match="--set objectives.walk.xrt= gives no limit.*null to drop"):
        parse_overrides([f"objectives.walk.xrt={text}"])
    assert "xrt" not in load(set=parse_overrides(["objectives.walk.xrt=null"])).objectives["walk"]
    assert parse_overrides(["walk.share="]) == {"walk.share": None}


@pytest.mark.parametrize(("written", "steps"), [("010", 10), ("1_0", 10), ("0x10", 16), ("-0", None), ("1:3", None)])
def test_no_number_is_read_in_base_8_or_60(load, written, steps):
    """YAML 1.1 takes 010 for 8 and 1:3 for 63."""
    for ask in (
        lambda: load(SUITE.replace("steps: 3\n", f"steps: {written}\n")),
        lambda: load(set=parse_overrides([f"walk.steps={written}"])),
    ):
        if steps is None:
            with pytest.raises(InputError, match="walk.steps=.*(valid integer|greater than)"):
                ask()
        else:
            assert ask().settings["walk"].steps == steps


@pytest.mark.parametrize(
    ("written", "share"), [("0.25", 0.25), ("-0.5", -0.5), (".5", 0.5), ("2.5e-1", 0.25), ("00.5", 0.5), ("0", 0)]
)
def test_a_share_is_read_as_it_is_written(load, written, share):
    assert load(set=parse_overrides([f"walk.share={written}"])).settings["walk"].share == share


@pytest.mark.parametrize("order", [1, -1])
def test_a_limit_of_one_device_is_laid_over_that_of_all(load, order):
    both = ["objectives.walk.xrt=1.5", "objectives.walk.xrt.gpu=0.25"][::order]
    changed = load(set=parse_overrides(both)).objectives["walk"]["xrt"]
    assert {device: limit.limit for device, limit in changed.items()} == {"cpu": 1.5, "gpu": 0.25}


def test_a_truth_where_one_is_asked_for_is_taken(load):
    assert load(set={"walk.still": True}).settings["walk"].still is True


def test_an_unknown_scale_names_the_nearest(load):
    with pytest.raises(InputError, match="no scale 'smoek'; did you mean 'smoke'"):
        load(scale="smoek")


def test_a_control_that_is_chosen_as_a_variant_gates_and_is_measured_once(load):
    settings = load(set={"walk.controls": ["slow"]}).settings["walk"]
    assert "slow" in settings.variants
    assert settings.controls == ()


def test_a_variant_that_is_named_twice_is_measured_once(load):
    assert load(set={"walk.variants": ["fast", "slow", "fast"]}).settings["walk"].variants == ("fast", "slow")


class Search(Walk):
    k: int = Field(default=100, ge=1, le=100)

    @property
    def recall_depths(self):
        return (1, self.k)


RECALL = SUITE.replace("xrt: {cpu", "recall_at_100: '>= 0.9'\n    xrt: {cpu")


def search(tmp_path, text, *overrides):
    file = tmp_path / "suite.yaml"
    file.write_text(text)
    return load_suite(file, {"walk": Declared(Search)}, "smoke", parse_overrides(overrides))


def test_an_objective_on_a_recall_that_is_not_measured_is_refused_by_name(tmp_path, load):
    assert "recall_at_100" in search(tmp_path, RECALL).objectives["walk"]
    with pytest.raises(InputError) as caught:
        search(tmp_path, RECALL, "walk.k=10")
    assert str(caught.value) == (
        "suite.yaml line 4: the objective walk.recall_at_100 cannot be judged, because this run measures recall_at_1, "
        "recall_at_10. Next step: change what the run measures, or move the objective: --set objectives.walk.recall_at_100=null --set "
        '"objectives.walk.recall_at_10=>= 0.9"'
    )
    with pytest.raises(
        InputError,
        match="because this run measures nothing like it. Next step: drop it: --set objectives.walk.recall_at_100=null",
    ):
        load(RECALL)


def test_an_objective_is_moved_to_another_recall_for_one_run(tmp_path):
    found = search(
        tmp_path, RECALL, "walk.k=10", "objectives.walk.recall_at_100=null", "objectives.walk.recall_at_10=>= 0.8"
    ).objectives["walk"]
    assert set(found) == {"recall_at_10", "xrt", "latency_p95"}
    assert found["recall_at_10"] == dict.fromkeys(("cpu", "gpu"), Limit(op=">=", limit=0.8))
    with pytest.raises(InputError, match=r"--set objectives.walk.recall_at_10: 'x' is not an objective"):
        search(tmp_path, RECALL, "objectives.walk.recall_at_10=x")
    with pytest.raises(InputError, match='no objective on recall_at_10, and 0.8 has no operator.*">= 0.8"'):
        search(tmp_path, RECALL, "objectives.walk.recall_at_10=0.8")
    for unknown in ("recall_at_101=>= 0.8", "recall_at_10=null"):
        with pytest.raises(InputError, match="there is no objective 'recall_at_10"):
            search(tmp_path, RECALL, f"objectives.walk.{unknown}")


def test_the_choice_of_metrics_does_not_list_a_hundred_recalls(load):
    with pytest.raises(InputError) as caught:
        load(SUITE.replace("latency_p95", "latency"))
    assert "recall_at_1, recall_at_100, recall_easy" in str(caught.value)
    assert str(caught.value).endswith("or another of their kind")
