"""What other packages bring is found; what cannot be used is named and stands in nobody's way."""

from __future__ import annotations

import json
import sys
from typing import ClassVar

import pytest
from pydantic import Field
from typer.testing import CliRunner

from nightgate import api, cli, plugins, registry
from nightgate.artifacts import Cache
from nightgate.benchmark import Benchmark, Context, Prepared
from nightgate.measure import host
from nightgate.metrics import MEASURE_SECONDS, MetricSpec
from nightgate.record import Record
from nightgate.suite import BenchmarkSettings
from nightgate.terminal import doctor

GOOD = """
from nightgate import api

class Settings(api.BenchmarkSettings):
    known_variants = ("one",)

class Good(api.Benchmark[Settings, api.Prepared]):
    name, title, settings, prepared, metrics = "good", "Good", Settings, api.Prepared, ()
    def prepare(self, settings, context): ...
    def measure(self, settings, prepared, context): ...
"""
BROKEN = {
    "absent": ("absent_module:X", None, "ModuleNotFoundError: No module named 'absent_module'"),
    "raises": ("raises:X", "1 / 0", "ZeroDivisionError: division by zero"),
    "exits": ("exits:X", "raise SystemExit('bye')", "SystemExit: bye"),
    "number": ("number:X", "X = 5", "number:X is a int and no Benchmark"),
    "renamed": ("renamed:Good", GOOD, "renamed:Good is called 'good' and its entry point 'renamed'"),
    "abstract": ("abstract:Good", GOOD.replace("def measure", "def measured"), "TypeError: Can't instantiate abstract class Good"),
    "untitled": ("untitled:Good", GOOD.replace('name, title, settings', "name, settings").replace('"Good", Settings', "Settings"), "it has no title"),
}  # fmt: skip


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install a package: name, version, and for each name of an entry point its target and the source of its module."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def installed(package, version, points, group=plugins.BENCHMARKS):
        facts = tmp_path / f"{package}-{version}.dist-info"
        facts.mkdir()
        (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
        lines = "".join(f"{name} = {target}\n" for name, (target, _) in points.items())
        (facts / "entry_points.txt").write_text(f"[{group}]\n{lines}")
        for target, source in points.values():
            if source is not None:
                (tmp_path / f"{target.partition(':')[0]}.py").write_text(source)
        caches()

    yield installed
    for target in (*(target for target, *_ in BROKEN.values()), "good:Good", "other:Good"):
        sys.modules.pop(target.partition(":")[0], None)
    monkeypatch.undo()
    caches()


def caches():
    plugins._LISTED.clear()
    for one in (registry.installed, registry._specs):
        one.cache_clear()


def nightgate(*words):
    done = CliRunner().invoke(cli.app, words)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_an_installed_benchmark_is_listed_with_its_package(install):
    before = set(registry.installed())
    install("a-good-one", "2.5", {"good": ("good:Good", GOOD)})
    assert set(registry.installed()) == {"good"} | before
    assert isinstance(registry.installed()["good"], Benchmark), "a class is made an object"
    (row,) = [row for row in json.loads(nightgate("plugins", "--json")) if row["name"] == "good"]
    assert row.pop("seconds") > 0
    assert row == {
        "group": "nightgate.benchmarks", "name": "good", "target": "good:Good", "package": "a-good-one", "version": "2.5", "error": None,
    }  # fmt: skip
    assert "a-good-one 2.5" in nightgate("plugins")


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_one_is_named_with_its_reason_and_the_others_work(install, name, caplog):
    before = set(registry.installed())
    target, source, reason = BROKEN[name]
    install("a-broken-one", "0.1", {name: (target, source), "good": ("good:Good", GOOD)})
    assert set(registry.installed()) == before | {"good"}
    rows = {row["name"]: row for row in json.loads(nightgate("plugins", "--json"))}
    assert rows[name]["error"].startswith(reason)
    assert rows["good"]["error"] is None
    assert f"{name} of a-broken-one is left out: {reason}" in caplog.text
    line = f"{name} of a-broken-one 0.1 (nightgate.benchmarks) is left out: {reason}"
    assert line in nightgate("plugins").replace("\n", " ")
    fine, said = doctor._plugins()
    assert not fine and line in said


def test_of_two_of_one_name_the_first_is_used_and_the_other_named(install):
    install("first", "1", {"good": ("good:Good", GOOD)})
    install("second", "2", {"good": ("other:Good", GOOD)})
    owner = sys.modules[type(registry.installed()["good"]).__module__].__name__
    rows = {row["package"]: row for row in json.loads(nightgate("plugins", "--json")) if row["name"] == "good"}
    used, left = ("first", "second") if owner == "good" else ("second", "first")
    assert rows[used]["error"] is None
    assert rows[left]["error"] == f"{used} has one of this name"


def test_a_host_whose_plug_ins_are_all_usable_is_fine():
    fine, said = doctor._plugins()
    assert fine and said.endswith("all usable")


def test_a_benchmark_that_cannot_say_what_it_finds_is_a_finding(monkeypatch):
    def findings(services):
        raise RuntimeError("a bug")

    known = registry.installed()["transcription"]
    monkeypatch.setattr(known, "findings", findings)
    assert doctor._of(known) == [(False, "Transcription: RuntimeError: a bug")]


def test_a_package_that_is_missing_is_named(monkeypatch):
    required = [
        "numpy>=1",
        "no-such-package; python_version >= '3'",
        "other; python_version < '3'",
        "more; extra == 'x'",
    ]
    monkeypatch.setattr(doctor.metadata, "requires", lambda name: [*required, "faiss-cpu>=1"])
    assert doctor._missing() == ["no-such-package"]
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None)
    assert doctor._missing() == ["no-such-package", "faiss-cpu"]


class Settings(BenchmarkSettings):
    known_variants: ClassVar[tuple[str, ...]] = ("one", "two")
    tags: list[str] = Field(default_factory=lambda: ["a", "b"])


class Declared(Benchmark[Settings, Prepared]):
    name, title, settings, prepared = "declared", "Declared", Settings, Prepared
    metrics = (MetricSpec("speed", "seconds", "Speed"),)
    headlines = ("speed",)

    def prepare(self, settings, context): ...

    def measure(self, settings, prepared, context): ...


def test_what_is_declared_well_passes():
    Declared().check_declaration()


def test_a_new_record_says_who_measures_what(tmp_path):
    settings = Settings(variants=("one",), controls=("two",))
    context = Context("gpu", Cache(tmp_path), samples=tmp_path / "declared-gpu.npz")
    gated, control = (Declared().new_record(settings, variant, context) for variant in ("one", "two"))
    assert (gated.benchmark, gated.variant, gated.device, gated.status) == ("declared", "one", "gpu", "measured")
    assert (gated.gated, control.gated) == (True, False)
    assert gated.settings == {"variants": ["one"], "controls": ["two"], "tags": ["a", "b"]}
    assert (gated.samples, gated.host) == ("declared-gpu.npz", host.describe())
    assert gated.started_at and gated.started_at.endswith("Z") and gated.finished_at is None


def test_a_default_may_be_made_by_a_function(monkeypatch):
    monkeypatch.setattr(registry, "installed", lambda: {"declared": Declared()})
    made = Record(benchmark="declared", variant="one", device="cpu", status="measured")
    assert registry.work(made)[0] == {"tags": ["a", "b"]}


@pytest.mark.parametrize(
    ("attribute", "value", "said"),
    [
        ("settings", None, "settings is None and no model. Next step: name a subclass of BenchmarkSettings"),
        ("settings", BenchmarkSettings, "BenchmarkSettings.known_variants names nothing"),
        ("prepared", dict, "prepared is <class 'dict'> and no model"),
        ("looked", Settings, "looked is .*Settings.* and no model"),
        ("title", None, "it has no title"),
        ("name", "De-clared", "'De-clared' is no name. Next step: write lower case"),
        ("devices", (), r"devices is \(\). Next step: use one of cpu, gpu"),
        ("devices", ("cpu", "tpu"), r"devices is \('cpu', 'tpu'\)"),
        ("metrics", (*Declared.metrics, *Declared.metrics), "the metric speed is declared twice"),
        (
            "settings",
            type("Other", (Settings,), {"known_variants": ("one", "gpu")}),
            "the variant gpu is called as a device is",
        ),
        ("metrics", (MEASURE_SECONDS,), "the metric measure_seconds is declared twice"),
        ("headlines", ("sped",), "the headline 'sped' is no metric of it; did you mean 'speed'"),
    ],
)
def test_what_contradicts_itself_is_refused(monkeypatch, attribute, value, said):
    monkeypatch.setattr(Declared, attribute, value)
    with pytest.raises(cli.InputError, match=said):
        Declared().check_declaration()


@pytest.mark.parametrize("given", [{"name": "P95"}, {"name": ""}, {"gauge": "no name"}, {"gauge": "nightgate-speed"}])
def test_a_metric_with_a_name_that_is_none_is_refused(given):
    with pytest.raises(cli.InputError, match="is no name for a metric"):
        MetricSpec(**{"name": "speed", "unit": "seconds", "title": "Speed"} | given)


class Asked(api.StoreSettings):
    known_variants: ClassVar[tuple[str, ...]] = ("flat",)


class Store(api.VectorStore):
    name, title, settings, variants = "declared", "Declared", Asked, ("flat",)
    service = api.Service("declared", "DECLARED_URL", "declared_default")

    def connect(self, address, doing, *, required=True): ...

    def rows(self, connection, collection): ...

    def load(self, connection, address, collection, base): ...

    def index(self, connection, address, collection): ...

    def remove(self, connection): ...

    def open(self, address, collection, k): ...


def test_a_store_that_is_declared_well_passes():
    Store().check_declaration()


@pytest.mark.parametrize(
    ("attribute", "value", "said"),
    [
        ("title", None, "it has no title. Next step: give it a title"),
        ("service", "DECLARED_URL", "it has no service"),
        ("settings", None, "it has no settings"),
        ("settings", Settings, "settings is .*Settings.*name a subclass of StoreSettings"),
        ("variants", (), r"variants is \(\), and Asked.known_variants is \('flat',\)"),
        ("variants", ("graph",), r"variants is \('graph',\), and Asked.known_variants is \('flat',\)"),
    ],
)
def test_a_store_that_contradicts_itself_is_refused(monkeypatch, attribute, value, said):
    monkeypatch.setattr(Store, attribute, value)
    with pytest.raises(api.InputError, match=said):
        Store().check_declaration()


def test_a_store_without_an_index_is_refused(monkeypatch):
    monkeypatch.setattr(Store, "variants", ())
    monkeypatch.setattr(Asked, "known_variants", ())
    with pytest.raises(api.InputError, match=r"variants is \(\)"):
        Store().check_declaration()


def test_a_broken_store_takes_no_benchmark_with_it(install):
    before = set(registry.installed())
    source = "from nightgate import api\nclass S(api.VectorStore): name = 'good'\n"
    install("a-store", "1", {"good": ("other:S", source)}, group=plugins.VECTOR_STORES)
    assert set(registry.installed()) == before
    (row,) = [row for row in json.loads(nightgate("plugins", "--json")) if row["name"] == "good"]
    assert "Can't instantiate abstract class S" in row["error"]
