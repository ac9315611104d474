"""The house: every module imports from the floors below its own only, and no import goes in a circle."""

from __future__ import annotations

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2] / "include" / "nightgate"

FLOORS = [
    {"errors"},
    {"facts", "files", "metrics", "plugins", "versions"},
    {"paths", "record", "document", "objectives", "suite", "artifacts", "measure"},
    {"benchmark", "environments", "progress"},
    {"vectors"},
    {"vector_search"},
    {"registry"},
    {"transcription", "hybrid_ann", "pgvector_search", "judge", "results", "series", "stack", "duet"},
    {"publish", "api", "causes", "regression"},
    {"planning", "uploading", "web"},
    {"judged", "ledger", "street", "watching"},
    {"following", "telling"},
    {"confirming"},
    {"steps"},
    {"orchestration", "terminal"},
    {"cli", "airflow"},
]
LEVEL = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}
WITHIN = {
    ("paths", "errors"), ("objectives", "document"), ("objectives", "record"), ("suite", "document"), ("suite", "objectives"), ("suite", "record"), ("artifacts", "record"), ("measure", "record"), ("judge", "series"), ("results", "judge"), ("results", "series"),
}  # fmt: skip
"""Rooms of one floor that may know each other, in this direction."""


def module_name(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def room(module: str) -> str:
    return module.split(".")[0]


def imports(file: Path, modules: set[str]) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("nightgate"):
            base = node.module.removeprefix("nightgate").removeprefix(".")
            for alias in node.names:
                inner = f"{base}.{alias.name}".strip(".")
                found.add(inner if inner in modules else base)
        elif isinstance(node, ast.Import):
            found |= {a.name.removeprefix("nightgate.") for a in node.names if a.name.startswith("nightgate.")}
    return found - {""}


FILES = {module_name(file): file for file in ROOT.rglob("*.py")}
GRAPH = {module: imports(file, set(FILES)) for module, file in FILES.items() if module != "__init__"}


def test_every_module_has_a_floor():
    assert {room(module) for module in GRAPH} <= set(LEVEL)


def test_no_import_goes_up_or_sideways():
    wrong = []
    for module, targets in GRAPH.items():
        for target in targets:
            here, there = room(module), room(target)
            if here != there and LEVEL[there] >= LEVEL[here] and (here, there) not in WITHIN:
                wrong.append(f"{module} imports {target}")
    assert wrong == []


def test_no_import_goes_in_a_circle():
    order = list(TopologicalSorter(GRAPH).static_order())  # raises CycleError
    assert order.index("errors") < order.index("steps")


def test_only_orchestration_knows_airflow_and_only_lazily_elsewhere():
    pattern = re.compile(r"^(from|import) airflow\b", re.M)
    knows = {room(module) for module, file in FILES.items() if pattern.search(file.read_text())}
    assert knows == {"airflow", "orchestration"}


def test_judge_and_records_know_neither_server_nor_web():
    for name in ("judge", "record", "document", "objectives", "suite", "measure", "vectors"):
        for module, file in FILES.items():
            if room(module) == name or module.startswith(f"{name}."):
                assert not re.search(
                    r"^\s*(from|import) (psycopg|requests|fastapi|airflow)\b", file.read_text(), re.M
                ), module
