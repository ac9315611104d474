import json
import re

import pytest

from nightgate import paths, registry
from nightgate.artifacts import Cache, Settings
from nightgate.artifacts.counted import counted
from nightgate.facts import Noise
from nightgate.publish.grafana import annotations, check
from nightgate.publish.prometheus import render, samples
from nightgate.record import Objective, Record
from nightgate.results.store import Run, Snapshot

FILES = sorted(paths.dashboards_dir().glob("*.json"))

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


def board(name):
    return json.loads((paths.dashboards_dir() / f"{name}.json").read_text())


def panels(name):
    return {panel["title"]: panel for panel in board(name)["panels"]}


def colours(panel):
    return [(step["value"], step["color"]) for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]]


def test_what_is_red_is_a_breach_whatever_the_limits_of_the_suite_are():
    """Headroom is computed from the limits that are exported; only a breach lies below 0."""
    panel = panels("nightly-slo")["Headroom by objective"]
    assert colours(panel) == [(None, "red"), (0, "green")]
    breached, held = (target["expr"] for target in panel["targets"])
    assert "headroom_ratio" in breached and 'verdict="breach"' in breached and " and on (" in breached
    assert (
        held.startswith("min by (benchmark, variant, device, metric) (clamp_min(")
        and " unless on (" in held
        and held.endswith(", 0))")
    )


def test_the_two_share_no_panel():
    both = [set(panels(name)) for name in ("nightly-slo", "cache-backpressure")]
    assert both[0] & both[1] == set()
    exprs = [
        {target["expr"] for panel in panels(name).values() for target in panel.get("targets", [])}
        for name in ("nightly-slo", "cache-backpressure")
    ]
    assert exprs[0] & exprs[1] == set()


def test_every_panel_leads_to_the_board_and_an_objective_to_its_series():
    for name in ("nightly-slo", "cache-backpressure"):
        for panel in board(name)["panels"]:
            if panel["type"] != "row":
                (link,) = panel["links"]
                assert link["url"].startswith("${board}/"), panel["title"]
    for title in ("Headroom by objective", "Headroom over time"):
        (link,) = panels("nightly-slo")[title]["fieldConfig"]["defaults"]["links"]
        assert link["url"] == "${board}/series?suite=${suite}&" + "&".join(
            f"{label}=${{__field.labels.{label}}}" for label in ("benchmark", "variant", "device", "metric")
        )


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
        Snapshot(
            [("n", record) for record in records], [("n", judged)], [last], {("nightly", "d"): "2026-11-22T02:00:00Z"}
        ),
        {"cpu": {}},
        [counted(cache, "east")],
    )[0].decode()
    return (
        set(re.findall(r"^([a-z_]+)", page, flags=re.MULTILINE))
        | {"whisper_xrt"}
        | {gauge.name for record in records for gauge in samples(record)}
    )


def test_a_panel_shows_one_suite_that_is_chosen():
    chosen = {each["name"]: each for each in board("nightly-slo")["templating"]["list"]}
    assert (chosen["suite"]["definition"], chosen["suite"]["multi"]) == (
        "label_values(nightgate_run_info, suite)",
        False,
    )
    for name in ("scale", "host", "benchmark"):
        assert (chosen[name]["multi"], chosen[name]["includeAll"]) == (True, True)
    for panel in board("nightly-slo")["panels"]:
        for target in panel.get("targets", []):
            for name, after in re.findall(r"nightgate_(?!cache_|pool_)([a-z0-9_]+)(.{0,48})", target["expr"]):
                of_a_run = name.startswith(("run_", "last_"))
                wanted = '{suite="$suite"' + ("" if of_a_run else ', scale=~"$scale", host=~"$host"')
                assert after.startswith(wanted), (panel["title"], target["expr"])


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
        assert '{suite="$suite", scale=~"$scale", host=~"$host"}' in annotation["expr"]


@pytest.mark.parametrize(
    ("title", "verdict", "colour"),
    [("Breached", "breach", "red"), ("Undecided", "inconclusive", "orange"), ("Not known", "invalid", "purple")],
)
def test_each_verdict_is_counted_apart_in_its_colour(title, verdict, colour):
    panel = panels("nightly-slo")[title]
    (target,) = panel["targets"]
    assert re.findall(r'verdict="(\w+)"', target["expr"]) == [verdict]
    assert colours(panel) == [(None, "green"), (1, colour)]


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
