"""The steps of one run on two hosts that share only the results database, with a benchmark that measures nothing."""

from __future__ import annotations

import socket
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import quote

import numpy as np
import pytest
from psycopg.conninfo import conninfo_to_dict
from support.specs import add
from support.stand_in import stand_in
from support.street import HOST, plan

from nightgate import paths, steps
from nightgate.errors import InputError, ObjectiveBreached, ServiceUnavailable
from nightgate.ledger import new_attempt
from nightgate.measure import host
from nightgate.record import Look, Record, Summary
from nightgate.results import files
from nightgate.results.restore import restore
from nightgate.results.store import Store
from nightgate.terminal import stored

CPU = ("hybrid_ann", "cpu")


class Hosts:
    """Two hosts with a home and results of their own."""

    def __init__(self, folder, monkeypatch, url):
        self.folder, self.patch, self.url = folder, monkeypatch, url
        self.latency = 0.001
        self.fake = SimpleNamespace(prepare=lambda *_: {"ready": True}, measure=self._measure, tidy=lambda *_: None)
        stand_in(monkeypatch, self.fake)
        monkeypatch.setattr(host, "describe", lambda: HOST)
        monkeypatch.setattr(host, "SAMPLE", 0.02)
        monkeypatch.setattr(steps, "render_report", lambda summary, folder: f"{summary.state} in {folder.name}")

    def on(self, name):
        self.patch.setenv("NIGHTGATE_RUNS", str(self.folder / name / "runs"))
        self.patch.setenv("NIGHTGATE_HOME", str(self.folder / name / "home"))
        self.patch.setattr(socket, "gethostname", lambda: name)
        return self

    def measure(self, latency=0.001):
        """A whole try; returns it."""
        self.latency, attempt = latency, new_attempt()
        steps.measure(plan(), *CPU, steps.prepare(plan(), *CPU, self.url), self.url, attempt)
        return attempt

    def gate(self, attempt):
        steps.gate(plan(), *CPU, self.url, attempt)

    def report(self, attempt):
        return steps.report(plan(), self.url, {CPU: attempt})

    def _measure(self, settings, device, prepared, samples):
        np.savez(samples, x=np.full(3, self.latency))
        return [self._record(variant) for variant in (*settings.variants, *settings.controls)]

    def _record(self, variant):
        made = Record(benchmark="hybrid_ann", variant=variant, device="cpu", status="measured", host=HOST,
                      settings={"variants": ["hybrid"]}, samples="hybrid_ann-cpu.npz")  # fmt: skip
        add(made, "latency_p95", self.latency, 1000, (self.latency * 0.9, self.latency * 1.1))
        add(made, "recall_at_100", 0.96, 200, (0.95, 0.97))
        made.looks = [Look(started_at="later", metrics=made.metrics)]
        return made


@pytest.fixture
def hosts(tmp_path, monkeypatch, own_database):
    return Hosts(tmp_path, monkeypatch, own_database)


@pytest.fixture
def store(own_database):
    return Store(own_database)


def p95(summary):
    return [record.metrics["latency_p95"].value for record in summary.results if record.gated]


def same(one, other):
    """The store sorts the records by variant, and the summary the gated ones first."""
    first, second = (
        {record.variant: record for record in getattr(summary, "results", summary)} for summary in (one, other)
    )
    return first == second and len(first) == 3


@pytest.mark.parametrize("where", ["".join(names) for names in product("AB", repeat=4)])
def test_whichever_host_takes_a_step_the_records_and_the_state_are_the_same(hosts, store, where):
    measuring, recording, judging, closing = where
    attempt = hosts.on(measuring).measure(0.0123)
    hosts.on(recording)
    steps.record(plan(), *CPU, hosts.url, attempt)
    hosts.on(judging).gate(attempt)
    summary = hosts.on(closing).report(attempt)
    assert same(store.summary("a-run"), summary)
    assert files.read_summary("a-run") == summary
    assert (summary.state, p95(summary)) == ("pass", [0.0123])
    assert {record.attempt.machine for record in summary.results} == {measuring}
    assert [o.verdict for record in summary.results if record.gated for o in record.objectives] == ["pass", "pass"]
    assert store.earlier("a-run") == []
    with np.load(paths.run_dir("a-run") / "hybrid_ann-cpu.npz") as samples:
        assert samples["x"].tolist() == [0.0123] * 3
    assert files.report_path("a-run").read_text() == "pass in a-run"


def test_what_was_prepared_elsewhere_is_prepared_where_it_is_measured(hosts, store):
    """It was "gone from the cache or torn", and nobody looked where it is to be had."""
    made = []

    def prepare(settings, device, cache):
        found = cache.get(
            "kind", {"of": "it"}, lambda folder: made.append(cache.root) or ((folder / "a").write_bytes(b"x") and None)
        )
        return {"it": str(found.path)}

    def measure(settings, device, prepared, samples):
        assert (Path(prepared["it"]) / "a").read_bytes() == b"x"
        assert Path(prepared["it"]).is_relative_to(paths.cache_dir())
        return hosts._measure(settings, device, prepared, samples)

    hosts.fake.prepare, hosts.fake.measure = prepare, measure
    prepared = steps.prepare(hosts.on("A") and plan(), *CPU, hosts.url)
    hosts.on("B")
    attempt = steps.measure(plan(), *CPU, prepared, hosts.url)
    assert hosts.report(attempt).state == "pass"
    assert [root.parent.parent.name for root in made] == ["A", "B"]
    (record,) = [record for record in store.summary("a-run").results if record.gated]
    assert record.metrics["prepare_seconds"].value >= prepared["prepare_seconds"]


def test_a_task_that_is_run_again_elsewhere_is_judged_by_its_own_numbers(hosts, store):
    """A cleared measurement ran on B, and gate and report read the files of the first try on A: a green night of stale numbers."""
    hosts.on("A").measure(0.001)
    second = hosts.on("B").measure(0.5)
    hosts.on("A")
    with pytest.raises(ObjectiveBreached, match="P95 latency is 500 ms"):
        hosts.gate(second)
    summary = hosts.report(second)
    assert (summary.state, p95(summary)) == ("breach", [0.5])
    assert [record.metrics["latency_p95"].value for record in store.earlier("a-run")] == [0.001] * 3, "and none is lost"
    with np.load(paths.run_dir("a-run") / "hybrid_ann-cpu.npz") as samples:
        assert samples["x"].tolist() == [0.5] * 3


def test_clocks_of_two_hosts_may_differ(hosts, store, monkeypatch):
    """The second try ended before the first, by the clocks of the hosts that made them."""
    monkeypatch.setattr(steps, "utc_now", lambda: "2099-01-01T00:00:00.000Z")
    hosts.on("A").measure(0.001)
    monkeypatch.setattr(steps, "utc_now", lambda: "2026-01-01T00:00:00.000Z")
    second = hosts.on("B").measure(0.5)
    hosts.on("A")
    with pytest.raises(ObjectiveBreached):
        hosts.gate(second)
    assert p95(hosts.report(second)) == [0.5]


def test_torn_files_of_an_earlier_try_hinder_nobody(hosts, store):
    hosts.on("A").measure(0.001)
    (paths.run_dir("a-run") / "hybrid_ann-cpu.json").write_text("{")
    second = hosts.on("B").measure(0.5)
    assert p95(hosts.on("A").report(second)) == [0.5]


def test_whoever_looks_at_a_run_is_told_of_its_earlier_tries(hosts, store, monkeypatch):
    hosts.on("A").measure(0.001)
    summary = hosts.on("B").report(hosts.measure(0.002))
    at = conninfo_to_dict(hosts.url)
    monkeypatch.setenv(stored.VARIABLE, f"postgres://{at['user']}:@/{at['dbname']}?host={quote(at['host'], safe='')}")
    first, *others = stored.lines_about([summary])
    assert first.startswith(
        "a-run: an earlier try (1, on A) of hybrid_ann, which a later one replaced, found: hybrid on cpu: "
    )
    assert len(others) == 2


def test_what_a_host_has_of_an_earlier_try_does_not_come_into_the_store(hosts, store):
    hosts.on("A").measure(0.001)
    second = hosts.on("B").measure(0.5)
    hosts.on("A")
    steps.record(plan(), *CPU, hosts.url, second)
    hosts.on("C").report(second)
    with np.load(paths.run_dir("a-run") / "hybrid_ann-cpu.npz") as samples:
        assert samples["x"].tolist() == [0.5] * 3


def test_a_try_that_was_killed_does_not_pass_by_the_numbers_of_the_one_before(hosts, store):
    hosts.on("A").measure(0.001)
    killed = new_attempt(2)
    with pytest.raises(
        ServiceUnavailable, match=r"what A measured .* in try 2 is neither .*; here is try 1, made on A"
    ):
        hosts.gate(killed)
    summary = hosts.on("B").report(killed)
    assert summary.state == store.summary("a-run").state == "invalid"
    assert {record.reason for record in summary.results} == {
        "it left no result: its task was killed, timed out, or never ran"
    }
    assert [record.metrics["latency_p95"].value for record in store.earlier("a-run")] == [0.001] * 3


def test_what_was_not_measured_here_is_not_taken_from_the_store_by_a_report(hosts, store):
    """`report` on a host without files deleted what was measured elsewhere, while the run was green."""
    attempt = hosts.on("B").measure()
    hosts.gate(attempt)
    summary = hosts.on("A").report(attempt)
    assert summary.state == "pass"
    assert [record.status for record in store.summary("a-run").results] == ["measured"] * 3


def test_a_prepare_that_fails_after_a_measurement_leaves_its_reason_and_keeps_the_numbers(hosts, store):
    first = hosts.on("A").measure(0.001)
    hosts.fake.prepare = lambda *_: 1 / 0
    with pytest.raises(ZeroDivisionError):
        steps.prepare(plan(), *CPU, hosts.url)
    summary = hosts.on("B").report(first)
    assert {record.reason for record in summary.results} == {"prepare failed: division by zero"}
    assert len(store.earlier("a-run")) == 3


def test_the_files_of_a_run_come_back_from_the_store(hosts, store):
    hosts.on("A").report(hosts.on("A").measure())
    before = {path.name: path.read_bytes() for path in paths.run_dir("a-run").iterdir()}
    hosts.on("C")
    folder = restore(store, "a-run")
    assert {path.name for path in folder.iterdir()} == set(before)
    raw = ("hybrid_ann-cpu.npz", "report.html")
    assert [(folder / name).read_bytes() for name in raw] == [before[name] for name in raw]
    assert same(files.read_summary("a-run"), Summary.model_validate_json(before["summary.json"]))
    assert same(files.read_records("a-run"), files.read_summary("a-run"))
    with pytest.raises(InputError, match=r"no judged run 'a-rum'; did you mean 'a-run'\?.*the newest are a-run"):
        restore(store, "a-rum")
    (folder / "hybrid_ann-cpu.npz").write_bytes(b"torn")
    restore(store, "a-run")
    assert (folder / "hybrid_ann-cpu.npz").read_bytes() == before["hybrid_ann-cpu.npz"]
