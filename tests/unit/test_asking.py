"""`nightgate why`, `duet` and `bisect` on runs that lie in files; what would be measured is given."""

from __future__ import annotations

import json
import sys

import pytest
from support.nights import metric, record, summary

from nightgate import cli
from nightgate.duet.measuring import Duet, Round
from nightgate.environments.lock import Lock
from nightgate.files import write_text
from nightgate.results import files
from nightgate.terminal import asking

GOOD = Lock(
    python="3.11.7",
    packages={"alpha": "1.0", "beta": "1.0", "gamma": "1.0", "gone": "1.0"},
    code="c1",
    version="0.1.0",
    revision="r1",
)
BAD = GOOD.model_copy(update={"packages": {"alpha": "1.1", "beta": "1.1", "gamma": "1.1"}, "code": "c2"})


@pytest.fixture(autouse=True)
def runs(tmp_path, monkeypatch):
    """A good and a bad run on disk, and what was installed in each."""
    monkeypatch.setenv("NIGHTGATE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NIGHTGATE_RUNS", str(tmp_path / "runs"))
    monkeypatch.delenv("AIRFLOW_CONN_NIGHTGATE_RESULTS", raising=False)
    for number, lock in ((1, GOOD), (2, BAD)):
        one = record(number)
        one.metrics["latency_p50"] = metric(0.0001 * number)
        one.facts.provenance.environment = lock.digest
        files.write_summary(summary(number, one))
        folder = tmp_path / "home" / "environments"
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / f"{lock.digest}.json", lock.model_dump_json())


@pytest.fixture
def nightgate(monkeypatch, capsys):
    """Calls the command; its exit code, and what it said on both streams."""

    def called(*words):
        monkeypatch.setattr(sys, "argv", ["nightgate", *words])
        with pytest.raises(SystemExit) as end:
            cli.main()
        said = capsys.readouterr()
        return end.value.code or 0, said.out, said.err

    return called


def test_why_says_what_changed(nightgate):
    code, out, _ = nightgate("why", "night-002", "--since", "night-001")
    assert code == 0
    assert out.splitlines() == [
        "from night-001 to night-002",
        "  nightgate 0.1.0 (r1, code c1) → 0.1.0 (r1, code c2) (the project's code)",
        "  alpha 1.0 → 1.1 (installed)",
        "  beta 1.0 → 1.1 (installed)",
        "  gamma 1.0 → 1.1 (installed)",
        "  gone 1.0 → not there (installed)",
    ]
    _, out, _ = nightgate("why", "night-002", "--since", "night-001", "--json")
    told = json.loads(out)
    assert (told["run"], told["since"]) == ("night-002", "night-001")
    assert [one["name"] for one in told["changes"]["hybrid_ann hybrid cpu"]] == [
        "nightgate",
        "alpha",
        "beta",
        "gamma",
        "gone",
    ]


def test_why_of_alike_runs_says_so(nightgate):
    _, out, _ = nightgate("why", "night-001", "--since", "night-001")
    assert "nothing that is known changed: it is the host, or chance" in out


def test_why_without_a_store_wants_to_know_which_run_was_good(nightgate):
    code, _, err = nightgate("why", "night-002")
    assert code == 2
    assert "name it: --since RUN" in err


def test_a_run_that_is_not_there_is_named(nightgate):
    code, _, err = nightgate("why", "night-009", "--since", "night-001")
    assert code == 2 and "night-009" in err


class Duets:
    """What a duet would measure: ``culprit`` at its new version takes a tenth more."""

    def __init__(self, monkeypatch, culprit="beta"):
        self.culprit, self.asked = culprit, []
        monkeypatch.setattr(asking, "duet", self.duet)
        monkeypatch.setattr(asking, "task_of", lambda one, metrics: (one.variant, metrics))
        monkeypatch.setattr(asking.build, "interpreter", lambda cache, home, lock: ())
        monkeypatch.setattr(asking.sides.Between, "sides", lambda self, start, names: (start, names))

    def duet(self, first, second, task, rounds):
        self.asked.append(second)
        slower = 1.1 if second and self.culprit in second else 1.0
        one = [(0.0001 * (1 + 0.001 * n), 0.0001 * slower * (1 - 0.001 * n)) for n in range(rounds)]
        return Duet([Round({"hybrid": {"latency_p50": a}}, {"hybrid": {"latency_p50": b}}, {}) for a, b in one])


def test_bisect_names_the_change_and_how_sure_it_is(nightgate, monkeypatch):
    duets = Duets(monkeypatch)
    asked = ("bisect", "--metric", "latency_p50", "--good", "night-001", "--bad", "night-002", "--rounds", "4")
    code, out, err = nightgate(*asked)
    assert code == 0, err
    assert out.splitlines()[0] == "  with the new alpha, beta, gamma, nightgate: P50 latency 1.097 ×"
    assert out.splitlines()[-1].startswith(
        "It is beta 1.0 → 1.1. All changes together: P50 latency 1.097 ×; by itself it makes 100 % of that."
    )
    assert "gone 1.0 → not there cannot be tried by itself and is left out" in err
    count = len(duets.asked)
    _, out, _ = nightgate(*asked, "--json")
    assert json.loads(out)["verdict"]["names"] == ["beta"]
    assert len(duets.asked) == count, "nothing is measured again"
    nightgate(*asked, "--anew")
    assert len(duets.asked) == 2 * count


def test_bisect_wants_a_metric_that_was_measured(nightgate):
    code, _, err = nightgate("bisect", "--metric", "warp", "--good", "night-001", "--bad", "night-002")
    assert code == 2
    assert "night-002 has no 'warp'" in err and "latency_p50" in err


def test_bisect_of_one_and_the_same_has_nothing_to_try(nightgate, monkeypatch):
    Duets(monkeypatch)
    code, _, err = nightgate("bisect", "--metric", "latency_p50", "--good", "night-001", "--bad", "night-001")
    assert code == 2 and "nothing that was installed changed" in err


def test_duet_tells_every_metric_with_its_interval(nightgate, monkeypatch):
    Duets(monkeypatch, culprit="night-002")
    monkeypatch.setattr(asking.sides, "side_of", lambda text, lock_of_run: text)
    code, out, err = nightgate(
        "duet", ".", "night-002", "--benchmark", "hybrid_ann", "--variant", "hybrid", "--rounds", "4"
    )
    assert code == 0, err
    assert out.splitlines() == [
        "hybrid of hybrid_ann on cpu: night-002 over ., 4 rounds in turns",
        "  P50 latency: 1.097 × (1.092 to 1.101), worse",
    ]
