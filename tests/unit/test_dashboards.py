import json
import re

import pytest
import yaml

from nightgate import paths, registry
from nightgate.artifacts import Cache, Settings
from nightgate.artifacts.counted import counted
from nightgate.facts import Noise
from nightgate.publish.grafana import annotations, check
from nightgate.publish.prometheus import render, samples
from nightgate.record import Objective, Record
from nightgate.results.store import Run, Snapshot

FILES = sorted(paths.dashboards_dir().glob("*.json"))

# panel → benchmark, metric, device or variant
SLO_PANELS = {
    "Whisper xRT, cpu": ("transcription", "xrt", "cpu"),
    "Whisper xRT, gpu": ("transcription", "xrt", "gpu"),
    "Hybrid ANN P95 latency": ("hybrid_ann", "latency_p95", "cpu"),
    "Hybrid ANN recall@100": ("hybrid_ann", "recall_at_100", "cpu"),
    "pgvector P95 latency": ("pgvector_search", "latency_p95", "ivfflat_halfvec"),
    "pgvector recall@5": ("pgvector_search", "recall_at_5", "cpu"),
}
REDIS = {
    "redis_memory_used_bytes",
    "redis_memory_max_bytes",
    "redis_evicted_keys_total",
    "redis_rejected_connections_total",
    "redis_key_size",
    "redis_connected_clients",
    "redis_blocked_clients",
}
"""Of redis_exporter, which the Compose stack runs."""


def test_an_annotation_that_is_asked_for_by_its_tags_is_one_that_is_posted():
    asked = {
        tuple(query["target"]["tags"]) for file in FILES for query in json.loads(file.read_text())["annotations"]["list"]
        if query.get("target", {}).get("type") == "tags"
    }  # fmt: skip
    assert asked == {annotations._KIND}


def test_both_dashboards_are_there():
    found = {json.loads(file.read_text())["uid"]: json.loads(file.read_text())["title"] for file in FILES}
    assert found == {"cache-backpressure": "Cache-Backpressure", "nightly-slo": "Nightly-SLO"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_dashboard_is_fit_to_upload(file):
    assert check(file) == []
    assert json.loads(file.read_text())["schemaVersion"] == 41
    assert json.loads(file.read_text())["editable"] is False


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_thresholds_are_the_limits_of_the_suite(file):
    objectives = yaml.safe_load(paths.suite_file().read_text())["objectives"]
    panels = {panel["title"]: panel for panel in json.loads(file.read_text())["panels"]}
    for title, (benchmark, metric, device) in SLO_PANELS.items():
        text = objectives[benchmark][metric]
        op, limit = re.fullmatch(r"([<>]=?)\s*(.+)", text[device] if isinstance(text, dict) else text).groups()
        low, high = panels[title]["fieldConfig"]["defaults"]["thresholds"]["steps"]
        assert (low["value"], high["value"]) == (None, float(limit)), title
        assert (low["color"], high["color"]) == (("green", "red") if op.startswith("<") else ("red", "green")), title


def exported(cache):
    """Every metric name that /metrics can show."""
    records = []
    for name, known in registry.installed().items():
        records.append(Record(benchmark=name, variant="v", device="cpu", status="measured"))
        for spec in known.all_metrics:
            records[-1].add(spec, 1.0, 100, (0.5, 1.5))
        records[-1].facts.noise = Noise()
    judged = Record(benchmark="b", variant="v", device="cpu", status="measured")
    judged.objectives = [Objective(metric="xrt", op="<", limit=1, value=1, verdict="pass")]
    last = Run("n", "d", "smoke", "pass", "2026-11-22T02:00:00Z", "2026-11-22T02:00:00Z")
    page = render(
        Snapshot([("n", record) for record in records], [judged], [last], {"nightly": "2026-11-22T02:00:00Z"}),
        {"cpu": {}},
        [counted(cache, "east")],
    )[0].decode()
    return (
        set(re.findall(r"^([a-z_]+)", page, flags=re.MULTILINE))
        | {"whisper_xrt"}
        | {gauge.name for record in records for gauge in samples(record)}
    )


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_panel_shows_one_suite_that_is_chosen(file):
    board = json.loads(file.read_text())
    (suite,) = [each for each in board["templating"]["list"] if each["name"] == "suite"]
    assert (suite["type"], suite["definition"], suite["multi"]) == (
        "query",
        "label_values(nightgate_run_info, suite)",
        False,
    )
    for panel in board["panels"]:
        for target in panel.get("targets", []):
            ours = re.findall(r"nightgate_(?!cache_|pool_)[a-z0-9_]+(.{0,16})", target["expr"])
            assert all(after == '{suite="$suite"' + after[15:] for after in ours), (panel["title"], target["expr"])


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_panel_asks_for_metrics_that_exist(file, tmp_path):
    known = exported(Cache(tmp_path, Settings(limit=1))) | REDIS
    for panel in json.loads(file.read_text())["panels"]:
        for target in panel.get("targets", []):
            asked = set(re.findall(r"\b(?:whisper|nightgate|airflow|redis)_[a-z0-9_]+", target["expr"]))
            assert asked, panel["title"]
            assert asked <= known, (panel["title"], asked - known)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_annotation_asks_for_metrics_that_exist(file, tmp_path):
    annotations = json.loads(file.read_text())["annotations"]["list"]
    for annotation in (each for each in annotations if each["datasource"]["type"] == "prometheus"):
        asked = set(re.findall(r"\bnightgate_[a-z0-9_]+", annotation["expr"]))
        assert asked and asked <= exported(Cache(tmp_path, Settings(limit=1))), annotation["name"]
        assert '{suite="$suite"}' in annotation["expr"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_undecided_is_counted_apart_from_what_is_not_met_and_is_orange(file):
    panels = {panel["title"]: panel for panel in json.loads(file.read_text())["panels"]}
    panel = panels["Objectives not met"]
    asked = {target["legendFormat"]: target["expr"] for target in panel["targets"]}
    assert {name: re.findall(r"verdict(=~?\"[a-z|]+\")", expr) for name, expr in asked.items()} == {
        "not met": ['=~"breach|invalid"'], "undecided": ['="inconclusive"'],
    }  # fmt: skip
    (override,) = panel["fieldConfig"]["overrides"]
    assert override["matcher"]["options"] == "undecided"
    assert [step["color"] for step in override["properties"][0]["value"]["steps"]] == ["green", "orange"]


def test_every_verdict_has_a_colour_of_its_own():
    board = json.loads((paths.dashboards_dir() / "nightly-slo.json").read_text())
    (panel,) = [panel for panel in board["panels"] if panel["title"] == "Verdicts over time"]
    (mapping,) = panel["fieldConfig"]["defaults"]["mappings"]
    told = {number: (one["text"], one["color"]) for number, one in mapping["options"].items()}
    assert told == {
        "0": ("breach", "red"),
        "1": ("invalid", "purple"),
        "2": ("undecided", "orange"),
        "3": ("pass", "green"),
    }
    steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    assert {str(step["value"] or 0): step["color"] for step in steps} == {
        number: colour for number, (_, colour) in told.items()
    }
    factors = re.findall(r'(?:(\d) \* )?last_over_time\([^)]*?verdict="(\w+)"', panel["targets"][0]["expr"])
    assert factors == [("3", "pass"), ("2", "inconclusive"), ("", "invalid")]
