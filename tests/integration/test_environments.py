"""Environments put together for real, children started in them, and two of them measured in turns."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import psycopg
import pytest
from support.slow_package import Versions

from nightgate import paths, planning, steps
from nightgate.artifacts import Cache
from nightgate.duet.measuring import Task, duet
from nightgate.environments import build, code, kept, lock
from nightgate.errors import InputError, NotMeasured

_TELL = """
import importlib.metadata as metadata, importlib.util as util, json, nightgate, packaging, sys
from nightgate import registry
found = {"nightgate": nightgate.__file__, "packaging": packaging.__file__, "version": metadata.version("packaging"),
         "benchmarks": sorted(registry.installed()), "python": sys.executable, "pip": util.find_spec("pip") is not None}
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("environments")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NIGHTGATE_HOME", str(folder / "home"))
        patch.setenv("NIGHTGATE_RUNS", str(folder / "runs"))
        yield Cache(paths.cache_dir())


@pytest.fixture
def wheels(tmp_path, monkeypatch):
    """An index that has two versions of one package, and nothing else."""
    made = Versions(tmp_path / "versions")
    for name in ("1.0", "1.1"):
        made.install(name)
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "versions" / "wheels"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    return made


def test_what_is_installed_is_copied_and_made_once(cache):
    versions = {"packaging": version("packaging")}
    folder = build.packages(cache, versions)
    import packaging

    own, theirs = folder / "packaging" / "__init__.py", Path(packaging.__file__)
    assert own.read_bytes() == theirs.read_bytes()
    assert not own.samefile(theirs), "who edits what is installed edits no control"
    assert own.stat().st_mtime == theirs.stat().st_mtime
    assert build.packages(cache, versions) == folder
    assert [entry.kind for entry in cache.entries() if entry.path == folder.parent] == ["environment"]


def test_what_is_not_comes_through_pip(cache, wheels):
    folder = build.packages(cache, {"nightgate-slow": "1.0"})
    assert (folder / "nightgate_slow-1.0.dist-info" / "METADATA").exists()
    assert build.packages(cache, {"nightgate-slow": "1.1"}) != folder


def test_what_no_index_has_is_said_with_pips_words(cache, wheels):
    before = cache.entries()
    with pytest.raises(NotMeasured, match=r"pip cannot install nightgate-slow==9\.9: ERROR.*No matching distribution"):
        build.packages(cache, {"nightgate-slow": "9.9"})
    assert cache.entries() == before


def test_a_child_imports_just_that_and_damages_nothing(cache):
    lock.here.cache_clear()
    control = build.interpreter(cache, paths.home(), kept.keep(paths.home()))
    env = {"PATH": os.environ["PATH"], "NIGHTGATE_HOME": str(paths.home())} | control.environment()
    done = subprocess.run(
        [*control.command(), "-c", _TELL], capture_output=True, text=True, env=env, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["nightgate"] == str(build.code_folder(paths.home()) / code.digest() / "nightgate" / "__init__.py")
    assert str(paths.cache_dir()) in found["packaging"]
    assert {"hybrid_ann", "pgvector_search", "transcription"} <= set(found["benchmarks"])
    assert not found["pip"], "what is installed beside the interpreter is none of it"
    assert found["python"] != sys.executable or sys.prefix == sys.base_prefix
    assert cache.damaged() == []
    assert kept.find(paths.home(), lock.here().digest) == lock.here()
    assert kept.find(paths.home(), "nothing") is None


def test_another_python_or_code_that_was_not_kept_is_refused(cache):
    here = lock.here()
    with pytest.raises(InputError, match=r"is of Python 2\.7"):
        build.interpreter(cache, paths.home(), here.model_copy(update={"python": "2.7.18"}))
    with pytest.raises(InputError, match=r"the code of Nightgate .* was not kept"):
        build.interpreter(cache, paths.home(), here.model_copy(update={"code": "0123456789ab", "revision": None}))


def test_the_code_of_a_revision_counts_as_installed(cache, tmp_path):
    checkout = paths.checkout()
    folder = code.of_revision(tmp_path / "code", checkout, "HEAD")
    assert (folder / "nightgate" / "cli.py").exists() and (folder / "nightgate" / "suites" / "nightly.yaml").exists()
    (told,) = folder.glob("*.dist-info")
    assert "hybrid_ann = nightgate.hybrid_ann.plugin:BENCHMARK" in (told / "entry_points.txt").read_text()
    assert code.of_revision(tmp_path / "code", checkout, "HEAD") == folder


@pytest.mark.slow
def test_two_environments_measure_the_same_work_in_turns(cache, monkeypatch):
    monkeypatch.setenv("NIGHTGATE_SHARED_HOST", "1")
    plan = steps.preflight(
        planning.new_run_id("duet"), dag_id="by-hand", scale="smoke", only=["hybrid_ann"], devices=["cpu"],
        overrides={"hybrid_ann.rows": 3000, "hybrid_ann.queries": 100, "hybrid_ann.controls": [], "hybrid_ann.passes": 2, "hybrid_ann.processes": 1},
    )  # fmt: skip
    control = build.interpreter(cache, paths.home(), kept.keep(paths.home()))
    task = Task("hybrid_ann", "cpu", plan.settings["hybrid_ann"], ("latency_p50",), plan.looked["hybrid_ann"])
    made = duet(control, None, task, 3)
    first, second = made.of("hybrid", "latency_p50")
    assert len(first) == len(second) == 3
    assert all(0 < value < 0.1 for value in (*first, *second))
    recalls = [side["hybrid"]["recall_at_100"] for one in made.rounds for side in (one.first, one.second)]
    assert len(set(recalls)) == 1, "both asked the same index of the same data"
    assert made.same_builds("hybrid")
    assert not list(paths.home().glob("nightgate-duet-*"))


@pytest.mark.slow
def test_both_sides_use_what_was_loaded_for_them(cache, monkeypatch, pgvector_url):
    """They share the tables of one server, and neither waits for the other to let go of them."""
    monkeypatch.setenv("NIGHTGATE_SHARED_HOST", "1")
    small = {"rows": 3000, "queries": 100, "controls": [], "lists": 20, "load_seconds": 0.2}
    plan = steps.preflight(
        planning.new_run_id("duet"), dag_id="by-hand", scale="smoke", only=["pgvector_search"], devices=["cpu"],
        overrides={f"pgvector_search.{key}": value for key, value in small.items()},
    )  # fmt: skip
    asked = (
        plan.settings["pgvector_search"],
        ("latency_p50",),
        plan.looked["pgvector_search"],
        planning.services_here(),
    )
    made = duet(None, None, Task("pgvector_search", "cpu", *asked), 3, seconds=120)
    (variant,) = made.rounds[0].first
    first, second = made.of(variant, "latency_p50")
    assert len(first) == len(second) == 3 and made.same_builds(variant)
    with psycopg.connect(pgvector_url) as connection:
        assert (
            connection.execute(
                "SELECT to_regclass('nightgate_bench.' || relname) FROM pg_class WHERE relname LIKE 'ivf%'"
            ).fetchall()
            == []
        )
