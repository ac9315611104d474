"""The house rule of benchmarks: no module outside its own room names a benchmark, its variants or its metrics.

The suite, the dashboards and the DAG's own text, which are shipped beside the modules, do.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import nightgate
from nightgate import registry
from nightgate.metrics import STAGES

ROOT = Path(nightgate.__file__).parent
SHARED = {"vectors", "vector_search", "metrics.py"}  # where metrics of several benchmarks are declared
SPARED = {
    ("facts.py", "throughput_qps"),  # read from records that were written before their facts stood apart
    ("artifacts", "build_seconds"),  # the manifest's own key: what building an artefact took
    ("vectors", "exact"),  # a word of the language
}
WORD = re.compile(r"[\w-]+")


def rooms_of(benchmark) -> set[str]:
    """The packages that make the benchmark what it is, by their names below ``nightgate``."""
    classes = (*type(benchmark).__mro__, *benchmark.settings.__mro__)
    modules = [one.__module__.split(".") for one in classes if one.__module__.startswith("nightgate.")]
    return {parts[1] for parts in modules if len(parts) > 2}


def owners() -> dict[str, set[str]]:
    """Name of a benchmark, variant or metric → the rooms that may name it."""
    found: dict[str, set[str]] = {}
    for name, benchmark in registry.installed().items():
        rooms = rooms_of(benchmark)
        for own in (name, *benchmark.settings.known_variants):
            found.setdefault(own, set()).update(rooms)
        for spec in benchmark.metrics:
            found.setdefault(spec.name, set()).update(rooms | SHARED)
    return {name: rooms for name, rooms in found.items() if name not in {spec.name for spec in STAGES}}


def strings(source: str) -> Iterator[tuple[int, str]]:
    """Every string constant with its line, but for docstrings and the other strings that are no expression."""
    tree = ast.parse(source)
    idle = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in idle:
            yield node.lineno, node.value


def named(source: str, place: str) -> list[str]:
    """What a file at ``place`` (below ``nightgate``) names and is not to."""
    room, known = place.split("/")[0], owners()
    words = ((line, word) for line, text in strings(source) for word in WORD.findall(text))
    return [
        f"{place}:{line} names {word}"
        for line, word in words
        if word in known and room not in known[word] and (room, word) not in SPARED
    ]


def test_a_name_outside_its_room_is_found():
    for source in (
        'x = "hybrid_ann"',
        'f(help=f"--set hybrid_ann.rows={x}")',
        '{"recall_at_100": 1}',
        'y = ["ivfflat"]',
    ):
        assert named(source, "cli.py"), source
        assert not named(f'"""{source.replace(chr(34), "")}"""', "cli.py"), "a docstring may give an example"
    assert named('x = "hybrid_ann"', "pgvector_search/server.py") == ["pgvector_search/server.py:1 names hybrid_ann"]
    assert not named('x = "hybrid_ann.rows"', "hybrid_ann/settings.py")


def test_nothing_outside_its_room_names_a_benchmark_its_variants_or_its_metrics():
    files = [file for file in ROOT.rglob("*.py") if "dags" not in file.relative_to(ROOT).parts]
    found = [line for file in files for line in named(file.read_text(), file.relative_to(ROOT).as_posix())]
    assert found == []
