"""What `nightgate run` makes of a run that is over, and what it asks Airflow for."""

from __future__ import annotations

import pytest

from nightgate.errors import NotMeasured
from nightgate.record import Host, Summary
from nightgate.results import files
from nightgate.terminal import night

GREEN = {"preflight": "success", "report": "success", "verdict": "success", "upload_dashboards": "success"}


@pytest.fixture
def over(tmp_path, monkeypatch):
    monkeypatch.setenv("NIGHTGATE_RUNS", str(tmp_path))
    monkeypatch.setenv("NIGHTGATE_HOME", str(tmp_path / "home"))

    def ended(state):
        host = Host(fingerprint="f", cpu="c", cores=2, memory_bytes=1)
        made = Summary(
            run_id="a", dag_id="d", scale="smoke", state=state, started_at="s", finished_at="e", host=host, results=[]
        )
        files.write_summary(made)
        return made

    return ended


@pytest.mark.parametrize(
    ("state", "states", "code"),
    [
        ("pass", {}, 0), ("pass", {"upload_dashboards": "failed"}, 0), ("pass", {"hybrid_ann.cpu.record": "failed"}, 0),
        ("pass", {"verdict": "failed"}, 3), ("pass", {"verdict": "upstream_failed"}, 3), ("breach", {"verdict": "failed"}, 1),
        ("inconclusive", {"verdict": "failed"}, 3), ("inconclusive", {"verdict": "skipped"}, 3), ("invalid", {"verdict": "failed"}, 3), ("breach", {}, 1),
    ],
)  # fmt: skip
def test_the_exit_code_is_the_verdict_and_the_state_in_airflow(over, state, states, code):
    """What was stored in the end is stored: a task that failed on the way does not make a pass anything else."""
    summary = over(state)
    assert night._result("a", GREEN | states) == (summary, code)


def test_a_run_without_the_task_of_the_verdict_is_no_pass(over):
    over("pass")
    assert night._result("a", {"report": "success"})[1] == 3


def test_a_run_that_left_no_summary_names_what_failed(over):
    with pytest.raises(NotMeasured, match="the run none left no summary; failed: preflight, verdict"):
        night._result("none", {"verdict": "failed", "preflight": "failed", "report": "skipped"})
    with pytest.raises(NotMeasured, match="failed: no task"):
        night._result("none", {"report": "skipped"})
