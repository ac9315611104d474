"""The continuous integration: its workflow, the targets it calls, and the hook that runs the same lint."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / ".github" / "workflows" / "ci.yml"
TEXT = FILE.read_text()
WORKFLOW: dict[Any, Any] = yaml.safe_load(TEXT)
JOBS: dict[str, dict[str, Any]] = WORKFLOW["jobs"]


def commands(job: str) -> str:
    return "\n".join(step.get("run", "") for step in JOBS[job]["steps"])


def targets(text: str) -> set[str]:
    return set(re.findall(r"\bmake ([a-z][a-z0-9-]*)", text))


def makefile_targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z0-9-]*):(?!=)", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))


def test_it_fits_the_schema_of_workflows() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", str(FILE)]
    checked = subprocess.run(command, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_jobs_and_what_each_runs() -> None:
    assert set(JOBS) == {"unit", "dags", "gpu", "mutants", "heavy", "deploy"}
    assert {"lint", "setup-torch", "test-unit", "test-integration", "test-sweep"} <= targets(commands("unit"))
    assert {"test-dags", "test-e2e"} <= targets(commands("dags"))
    assert {"test"} <= targets(commands("gpu"))
    assert {"mutants"} <= targets(commands("mutants"))
    assert {"test-heavy"} <= targets(commands("heavy"))
    for job in JOBS.values():
        assert job["timeout-minutes"] <= 240


def test_every_python_is_tested_and_the_rest_runs_on_the_newest() -> None:
    every = ["3.11", "3.12", "3.13"]
    for name, job in JOBS.items():
        (asked,) = [step["with"] for step in job["steps"] if step.get("uses") == "actions/setup-python@v5"]
        if name in ("unit", "dags"):
            assert job["strategy"]["matrix"] == {"python": every}
            assert asked == {"python-version": "${{ matrix.python }}"}
            # the runner has others, which make would choose
            assert job["env"]["PYTHON"] == "python${{ matrix.python }}"
        else:
            assert asked == {"python-version": every[-1]}


@pytest.mark.parametrize("target", sorted(targets(TEXT)))
def test_every_make_target_exists(target: str) -> None:
    assert target in makefile_targets()


def test_the_ci_script_lints_and_tests() -> None:
    lines = [line.split("#")[0].split() for line in (ROOT / ".ci" / "run").read_text().splitlines()]
    asked = {word for line in lines if line[:1] == ["make"] for word in line[1:] if not word.startswith("-")}
    assert asked == {
        "setup-servers", "lint", "setup-torch", "test", "test-e2e", "test-slow", "test-ui", "cluster-test", "test-sweep",
    }  # fmt: skip
    assert asked <= makefile_targets()


def test_where_torch_is_installed_its_tests_must_run() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    assert script.index("make setup-torch") < script.index("export REQUIRE_TORCH=1") < script.index("make test ")
    assert JOBS["unit"]["env"]["REQUIRE_TORCH"] == "1"
    ran = commands("unit")
    assert ran.index("make setup-torch") < ran.index("make test-unit")
    (step,) = [step for step in JOBS["unit"]["steps"] if step.get("run") == "make setup-torch"]
    assert step["env"] == {"TORCH_INDEX": "${{ vars.TORCH_INDEX }}"}, (
        "no address of a registry stands in the repository"
    )


def test_the_gpu_image_has_the_torch_that_is_set_up() -> None:
    pin = r"\b((?:torch|openai-whisper|tiktoken)==[\w.]+)"
    image, makefile = (
        re.findall(pin, (ROOT / file).read_text()) for file in ("include/compose/Dockerfile", "Makefile")
    )
    assert len(image) == 3
    assert set(image) == set(makefile)


def test_torch_is_in_no_lock() -> None:
    for lock in sorted((ROOT / "include").rglob("*.txt")):
        assert not re.search(r"^(torch|triton|openai-whisper)==", lock.read_text(), flags=re.MULTILINE), lock


def test_only_the_heavy_and_gpu_jobs_see_their_devices() -> None:
    assert JOBS["gpu"]["runs-on"][0] == "self-hosted"
    assert "pull_request" in JOBS["gpu"]["if"], "code of a stranger must not run on our own machine"
    assert "vars.HAS_GPU_RUNNER" in JOBS["gpu"]["if"], "without a runner the job would wait for a day"
    ran = commands("gpu")
    assert ran.index("make setup-ci") < ran.index("make setup-gpu") < ran.index("make test")
    assert "measure hybrid_ann --device gpu" in ran
    recipe = (ROOT / "Makefile").read_text().partition("\nsetup-gpu:")[2]
    assert 0 < recipe.index("uninstall --yes faiss-cpu") < recipe.index("include/compose/gpu.txt")
    for name, job in JOBS.items():
        assert name == "gpu" or job["runs-on"].startswith("ubuntu-")
        assert ("services" in job) == (name == "heavy")


def test_the_heavy_job_measures_against_pgvector_and_keeps_its_results() -> None:
    heavy = JOBS["heavy"]
    (service,) = heavy["services"].values()
    assert service["image"] == "ankane/pgvector:v0.6.0"
    assert "pg_isready" in service["options"]
    port = service["ports"][0].split(":")[-1]
    assert re.fullmatch(rf"postgresql://postgres@127\.0\.0\.1:{port}/\w+", heavy["env"]["PGVECTOR_URL"])
    pack, upload = heavy["steps"][-2:]
    assert pack["if"] == upload["if"] == "always()", "a breach must not lose its own evidence"
    assert upload["with"]["path"] in pack["run"] and pack["run"].endswith(" benchmarks/runs")
    assert upload["with"]["path"].endswith(".tar.gz"), "a run id may hold a colon"


def test_deploy_uploads_the_dashboards_from_main_only_and_alone_sees_the_token() -> None:
    deploy = JOBS["deploy"]
    assert "github.ref == 'refs/heads/main'" in deploy["if"] and "github.event_name == 'push'" in deploy["if"]
    assert set(deploy["needs"]) >= {"unit", "dags"}
    step = deploy["steps"][-1]
    assert step["run"] == ".venv/bin/nightgate dashboards upload"
    assert step["env"]["GRAFANA_TOKEN"] == "${{ secrets.GRAFANA_TOKEN }}"
    assert re.findall(r"secrets\.\w+", TEXT) == ["secrets.GRAFANA_TOKEN"]


def test_the_workflow_may_only_read() -> None:
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert not [name for name, job in JOBS.items() if "permissions" in job]
    assert "pull_request_target" not in TEXT


def test_every_action_is_pinned_to_a_version() -> None:
    used = [step["uses"] for job in JOBS.values() for step in job["steps"] if "uses" in step]
    assert all(re.fullmatch(r"actions/[a-z-]+@v\d+", name) for name in used)


def test_the_hook_before_a_commit_runs_what_make_lint_runs() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    (repo,) = config["repos"]
    (hook,) = repo["hooks"]
    assert repo["repo"] == "local"
    assert hook["entry"] == "make lint" and hook["language"] == "system" and hook["pass_filenames"] is False
    assert "lint" in makefile_targets()
