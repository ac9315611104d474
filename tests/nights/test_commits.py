"""A commit of the project that costs speed, found by name among others: real duets, a few minutes alone on a host."""

from __future__ import annotations

import math
import subprocess

from nightgate import paths, planning, steps
from nightgate.artifacts import Cache
from nightgate.duet.bisecting import bisect
from nightgate.duet.measuring import Task, duet
from nightgate.duet.sides import Between
from nightgate.environments import build, code, lock
from nightgate.errors import NotMeasured

HYBRID = "include/nightgate/hybrid_ann/strategies/hybrid.py"
SEARCH = "    def search(self, query: np.ndarray, k: int) -> np.ndarray:\n"
WAIT = """        import time

        end = time.perf_counter_ns() + 150_000
        while time.perf_counter_ns() < end:
            pass
"""
COMMITS = (
    ("a word", "include/nightgate/hybrid_ann/measuring.py", "", "# a word\n"),
    ("a check before each search", HYBRID, SEARCH, SEARCH + WAIT),
    ("another word", "include/nightgate/vector_search/timed.py", "", "# another word\n"),
)
"""What each says, and what in which file it replaces by what."""


def test_the_commit_that_costs_speed_is_found_by_name(tmp_path, monkeypatch):
    monkeypatch.setenv("NIGHTGATE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NIGHTGATE_RUNS", str(tmp_path / "runs"))
    project = tmp_path / "project"
    subprocess.run(["git", "clone", "--quiet", str(paths.checkout()), str(project)], check=True)
    revisions = [_git(project, "rev-parse", "--short=12", "HEAD")]
    for subject, name, before, after in COMMITS:
        file = project / name
        text = file.read_text()
        assert before in text
        file.write_text(text.replace(before, after, 1) if before else text + after)
        _git(project, "commit", "--quiet", "--all", "--message", subject)
        revisions.append(_git(project, "rev-parse", "--short=12", "HEAD"))
    monkeypatch.setattr(paths, "checkout", lambda: project)

    kept = build.code_folder(paths.home())
    good, bad = (_lock(kept, project, revision) for revision in (revisions[0], revisions[-1]))
    between = Between.of(good, bad)
    assert list(between.changes) == [f"commit {revision}" for revision in revisions[1:]]

    plan = steps.preflight(
        planning.new_run_id("duet"), dag_id="by-hand", scale="smoke", only=["hybrid_ann"], devices=["cpu"],
        overrides={"hybrid_ann.rows": 5000, "hybrid_ann.queries": 200, "hybrid_ann.controls": [], "hybrid_ann.passes": 5},
    )  # fmt: skip
    task = Task("hybrid_ann", "cpu", plan.settings["hybrid_ann"], ("latency_p50",), plan.looked["hybrid_ann"])
    start = build.interpreter(Cache(paths.cache_dir()), paths.home(), good)

    def measure(names):
        first, second = duet(*between.sides(start, names), task, 3).of("hybrid", "latency_p50")
        if len(first) < 3:
            raise NotMeasured("too few rounds count")
        return [math.log(b / a) for a, b in zip(first, second, strict=True)]

    verdict, search = bisect(tmp_path / "search.json", "P50", between.changes, measure)
    for one in search.tried:
        print(f"with {', '.join(one.names)}: {math.exp(one.mean):.3f} ×")
    print(verdict)
    assert (verdict.kind, verdict.names) == ("found", (f"commit {revisions[2]}",))
    assert verdict.share > 0.7 and verdict.sure > 0.9 and len(search.tried) <= 4


def _git(project, *words):
    who = ("-c", "user.name=somebody", "-c", "user.email=somebody@here")
    return subprocess.run(
        ["git", "-C", str(project), *who, *words], capture_output=True, text=True, check=True
    ).stdout.strip()


def _lock(kept, project, revision):
    """What is installed here, with the code of a revision, which is kept as one that ran."""
    folder = code.of_revision(kept, project, revision)
    digest = code._digest(folder / "nightgate")
    if not (kept / digest).exists():
        (kept / digest).symlink_to(folder)
    return lock.here().model_copy(update={"code": digest, "revision": revision})
