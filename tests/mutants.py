"""Mutation score of the code that decides: `make mutants` changes it a little, again and again, and asks the unit tests.

mutmut makes the mutants and runs the tests; this file chooses what is mutated, prepares a copy in ``.mutants/`` and reads the
result. In the copy decorators are written as assignments, because mutmut leaves decorated functions alone. Prose (strings
with a space) and log lines decide nothing and are not mutated. A mutant that no test reaches has survived.

Numbers at the top of a module are out of mutmut's reach: the tests state them.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import os
import re
import shutil
import signal
import sys
import threading
from functools import cache
from pathlib import Path

import libcst as cst
from support.survivors import KILLED, PACKAGE, ROOT, SCRATCH, report

SLOW = {"test_whisper_cpu.py", "test_child.py", "test_clients.py"}  # seconds a test, by processes of their own
QUICK = 1.0  # seconds; a test that takes longer kills nothing
ROOMS = {
    "judge": ["judge"],
    "measure": ["measure"],
    "vectors": [f"vectors/{name}.py" for name in ("truth", "exact", "scoring", "recall")],
    "vector_search": [
        f"vector_search/{name}.py"
        for name in (
            "batches", "evidence", "in_process", "latency", "stages", "store_measuring", "store_preparing", "timed", "tuning",
        )
    ],
    "hybrid_ann": [f"hybrid_ann/{name}.py" for name in ("measuring", "preparing", "rerank")],
    "transcription": [f"transcription/{name}.py" for name in ("evidence", "timed", "scoring", "whisper_batch")],
    "pgvector_search": [f"pgvector_search/{name}.py" for name in ("explaining", "plan", "tables", "warming")],
    "artifacts": ["artifacts"],
    "steps": ["steps.py", "ledger.py", "street.py", "judged.py", "confirming.py", "orchestration/tasks.py", "orchestration/ending.py", "following.py", "progress.py"],
    "prometheus": ["publish/prometheus.py"],
    "regression": ["regression"],
    "duet": [*(f"duet/{name}.py" for name in ("bisecting", "ratio", "sides")), "causes.py"],
}  # fmt: skip


class Plain(cst.CSTTransformer):
    """``@a def f`` becomes ``def f``, ``f = a(f)``, for mutmut skips what is decorated."""

    def leave_FunctionDef(self, original_node, updated_node):
        names = [getattr(found.decorator, "value", "") for found in updated_node.decorators]
        if not names or names in (["staticmethod"], ["classmethod"]):
            return updated_node
        value = updated_node.name
        for found in reversed(updated_node.decorators):
            value = cst.Call(found.decorator, [cst.Arg(value)])
        assigned = cst.SimpleStatementLine([cst.Assign([cst.AssignTarget(updated_node.name)], value)])
        return cst.FlattenSentinel([updated_node.with_changes(decorators=[]), assigned])


def files_of(rooms: list[str]) -> list[Path]:
    """The files of rooms, folders or single files, all relative to the package."""
    found = []
    for name in [name for room in rooms for name in ROOMS.get(room, [room])]:
        path = ROOT / PACKAGE / name
        found += sorted(path.rglob("*.py")) if path.is_dir() else [path]
    if missing := [str(path) for path in found if not path.is_file()] or (not found and rooms):
        sys.exit(f"{missing} is no room and no file of {PACKAGE}; rooms: {' '.join(ROOMS)}")
    return [path.relative_to(ROOT / PACKAGE) for path in found if path.name != "__init__.py"]


@cache
def imported(test: Path) -> set[str]:
    """What a test file imports of the package, its errors and records left out: every test has them."""
    froms = [node for node in ast.walk(ast.parse(test.read_text())) if isinstance(node, ast.ImportFrom)]
    names = {f"{node.module}.{alias.name}." for node in froms for alias in node.names}
    return {name for name in names if re.match(r"nightgate\.(?!errors|record)", name)}


@cache
def helped(test: Path) -> set[str]:
    """What the files of tests/support that a test imports import in their turn."""
    froms = [node.module or "" for node in ast.walk(ast.parse(test.read_text())) if isinstance(node, ast.ImportFrom)]
    files = [ROOT / "tests" / f"{module.replace('.', '/')}.py" for module in froms if module.startswith("support.")]
    return {name for file in files if file.exists() for name in imported(file)}


def quick_tests(files: list[Path]) -> list[str]:
    """The quick test files that import one of ``files`` or the benchmark it is a part of; of a whole room those that
    import it more than anything else."""
    whole = {f"nightgate.{file.parts[0]}." for file in files if [file.parts[0]] in ROOMS.values()}
    parts = [file.with_suffix("").parts for file in files if f"nightgate.{file.parts[0]}." not in whole]
    single = {f"nightgate.{name}." for of in parts for name in (".".join(of), f"{of[0]}.benchmark")}
    chosen = []
    for test in sorted([*(ROOT / "tests/unit").rglob("test_*.py"), *(ROOT / "tests/dags").glob("test_*.py")]):
        names = imported(test)
        share = max((sum(name.startswith(room) for name in names) for room in whole), default=0)
        of_one = any(name.startswith(one) for name in names | helped(test) for one in single)
        if test.name not in SLOW and (of_one or 0 < len(names) <= 2 * share):
            chosen.append(str(test.relative_to(ROOT)))
    return chosen


def prepare(files: list[Path], tests: list[str], *, again: bool) -> None:
    """A copy of the project in which mutmut can work; with ``again`` what was killed and is unchanged stays so."""
    from mutmut.stats import status_by_exit_code

    verdicts = {path: json.loads(path.read_text()) for path in SCRATCH.rglob("*.meta")} if again else {}
    shutil.rmtree(SCRATCH, ignore_errors=True)
    shutil.copytree(ROOT / "include", SCRATCH / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for file in files:
        path = SCRATCH / "src/nightgate" / file
        path.write_text(cst.parse_module(path.read_text()).visit(Plain()).code)
    (SCRATCH / "tests").symlink_to(ROOT / "tests")
    (SCRATCH / "mutants").mkdir()
    (SCRATCH / "mutants/include").symlink_to("src")
    for name in ("dags", "plugins", "dashboards", "benchmarks"):
        (SCRATCH / "mutants" / name).symlink_to(ROOT / name)
    settings = {
        "source_paths": ["src"],
        "only_mutate": [f"src/nightgate/{file}" for file in files],
        "pytest_add_cli_args_test_selection": tests,
        "do_not_mutate_patterns": [r"^\s*log\."],
        "timeout_multiplier": 4.0,
        "use_git_change_detection": False,
    }
    written = "\n".join(f"{name} = {json.dumps(value)}" for name, value in settings.items())
    project = (ROOT / "pyproject.toml").read_text()
    (SCRATCH / "pyproject.toml").write_text(f"{project}\n[tool.mutmut]\n{written}\n")
    for path, kept in verdicts.items():
        codes = kept["exit_code_by_key"]
        kept["exit_code_by_key"] = {
            name: code if status_by_exit_code[code] in KILLED else None for name, code in codes.items()
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(kept))


def mutate(minutes: float, seed: int) -> None:
    """Run mutmut in the copy, the mutants in the order of a seeded hash, until all are tried or the time is up."""
    from mutmut import __main__ as mutmut
    from mutmut.mutation import file_mutation, mutators

    def no_prose(node):
        return () if " " in getattr(node, "value", "") else mutators.operator_string(node)

    operators = file_mutation.mutation_operators
    operators[:] = [(kind, no_prose if made is mutators.operator_string else made) for kind, made in operators]
    assert hasattr(mutmut, "estimated_worst_case_time"), "mutmut sorts its mutants in another way now"
    mutmut.estimated_worst_case_time = lambda name: hashlib.sha256(f"{seed} {name}".encode()).hexdigest()
    collect, forced_fail = mutmut.collect_or_load_stats, mutmut.run_forced_fail_test
    timer = threading.Timer(minutes * 60, os.kill, (os.getpid(), signal.SIGINT))
    timer.daemon = True

    def collect_quick(*args, **given):
        collect(*args, **given)
        slow = {test for test, seconds in mutmut.state().duration_by_test.items() if seconds > QUICK}
        for tests in mutmut.state().tests_by_mangled_function_name.values():
            tests -= slow

    def last_step_before_the_mutants(*args):
        forced_fail(*args)
        timer.start()

    mutmut.collect_or_load_stats, mutmut.run_forced_fail_test = collect_quick, last_step_before_the_mutants
    # what tests start as a process of its own runs the mutant as well
    os.environ["PYTHONPATH"] = f"{SCRATCH}/mutants/src:{SCRATCH}/mutants/tests"
    mutmut._run((), 1)
    timer.cancel()


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("rooms", nargs="*", help=f"{', '.join(ROOMS)}, or files of {PACKAGE}; all rooms by default")
    asked.add_argument(
        "--minutes", type=float, default=60, help="for the mutants; before them the tests run twice as they are"
    )
    asked.add_argument("--seed", type=int, default=1)
    asked.add_argument(
        "--again", action="store_true", help="try only what survived the last time, or was changed since"
    )
    asked.add_argument("--report", action="store_true", help="print the last result again")
    of = asked.parse_args()
    # a background job of a shell ignores it, and it is what ends the time
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if not of.report:
        files = files_of(of.rooms or list(ROOMS))
        prepare(files, quick_tests(files) or sys.exit("no test imports any of it"), again=of.again)
    os.chdir(SCRATCH)
    if not of.report:
        mutate(of.minutes, of.seed)
    sys.exit(0 if report(ROOMS, of.seed) else 1)


if __name__ == "__main__":
    main()
