"""What Prometheus itself says of our metrics, rules and dashboards: `promtool` and a real server."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml
from support.programs import program
from support.specs import add

from nightgate import registry
from nightgate.artifacts import Cache, Settings
from nightgate.artifacts.counted import counted
from nightgate.publish.prometheus import render
from nightgate.record import Objective, Record
from nightgate.results.store import Run, Snapshot

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def promtool():
    return program("promtool")


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A page with every metric that there is."""
    records = []
    for name, known in registry.installed().items():
        records.append(Record(benchmark=name, variant="v", device="cpu", status="measured"))
        for spec in known.all_metrics:
            records[-1].add(spec, 1.0, 100, (0.5, 1.5))
    engine = Record(
        benchmark="transcription", variant="a", device="cpu", status="measured", settings={"variants": ["a"]},
        objectives=[Objective(metric="xrt", op="<", limit=1, value=1, verdict="pass")],
    )  # fmt: skip
    add(engine, "xrt", 0.1, 5)
    last = Run("n", "d", "smoke", "pass", "2026-11-22T02:00:00Z", "2026-11-22T02:01:00Z")
    cache = Cache(tmp_path_factory.mktemp("cache"), Settings(limit=10**9))
    pools = {"cpu": {"open": 4, "running": 0}}
    return render(
        Snapshot(
            [*(("n", record) for record in records), ("n", engine)],
            [("n", engine)],
            [last],
            {("nightly", "d"): "2026-11-22T02:01:00Z"},
            [dict.fromkeys(("suite", "benchmark", "variant", "device", "metric", "scale", "host"), "v")],
        ),
        pools,
        [counted(cache, "east")],
    )[0]


def test_the_metrics_are_as_prometheus_wants_them(promtool, page):
    done = subprocess.run([promtool, "check", "metrics"], input=page, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout.decode(), done.stderr.decode()) == (0, "", "")


def test_a_bad_metric_would_be_told(promtool):
    bad = b"# TYPE nightgate_latency_milliseconds gauge\nnightgate_latency_milliseconds 1\n"
    done = subprocess.run([promtool, "check", "metrics"], input=bad, capture_output=True, timeout=60, check=False)
    assert done.returncode != 0 and b"base unit" in done.stdout + done.stderr


def test_the_rules_do_what_they_say(promtool):
    test = ROOT / "tests" / "rules" / "nightgate_test.yml"
    done = subprocess.run(
        [promtool, "test", "rules", str(test)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_rule_is_tested():
    rules = (ROOT / "dashboards" / "rules" / "nightgate.yml").read_text()
    tests = (ROOT / "tests" / "rules" / "nightgate_test.yml").read_text()
    names = [line.split(": ")[1] for line in rules.splitlines() if line.strip().startswith(("- alert:", "- record:"))]
    assert names and all(name in tests for name in names)


def test_the_rules_ask_for_metrics_that_exist(page):
    rules = yaml.safe_load((ROOT / "dashboards/rules/nightgate.yml").read_text())
    expressions = [rule["expr"] for group in rules["groups"] for rule in group["rules"]]
    known = {name.decode() for name in re.findall(rb"^([a-z_]+)", page, flags=re.MULTILINE)}
    asked = {name for text in expressions for name in re.findall(r"\b(?:nightgate|whisper)_[a-z_]+", text)}
    assert asked and asked <= known
