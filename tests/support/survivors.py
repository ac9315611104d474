"""What mutmut left in ``.mutants/``: the mutants that survived, and the score of each room."""

from __future__ import annotations

import ast
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
SCRATCH = ROOT / ".mutants"
PACKAGE = Path("include/nightgate")
REVIEWED = ROOT / "tests" / "mutants-equivalent.txt"
LEAST = 90.0  # per cent killed, in each room
KILLED = ("killed", "timeout", "segfault")


def results() -> Iterator[tuple[Path, str, str]]:
    """File, name and status of every mutant."""
    from mutmut.stats import status_by_exit_code

    for meta in sorted(SCRATCH.rglob("*.meta")):
        file = meta.relative_to(SCRATCH / "mutants").with_suffix("")
        for name, code in json.loads(meta.read_text())["exit_code_by_key"].items():
            yield file, name, status_by_exit_code[code]


class Survivor(NamedTuple):
    """In a form that outlives other changes of its file: ``<file> <function>``, the lines that went and that came."""

    where: str
    went: str
    came: str

    def line(self) -> int:
        """The first line of its function in the real file that reads so."""
        file, _, function = self.where.partition(" ")
        source, first = (ROOT / PACKAGE / file).read_text(), self.went.split("\n")[0]
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef) and node.name == function.split(".")[-1]:
                for number in range(node.lineno, node.end_lineno + 1):
                    if source.splitlines()[number - 1].strip() == first:
                        return number
        return 0


def survivor(file: Path, name: str) -> Survivor:
    from mutmut.mutation.diff_apply import get_diff_for_mutant
    from mutmut.utils.format_utils import orig_function_and_class_names_from_key

    function, inside = orig_function_and_class_names_from_key(name)
    diff = get_diff_for_mutant(name, path=file).splitlines()[2:]
    went, came = ("\n".join(line[1:].strip() for line in diff if line.startswith(sign)) for sign in "-+")
    return Survivor(f"{file.relative_to('src/nightgate')} {f'{inside}.' if inside else ''}{function}", went, came)


def reviewed() -> set[Survivor]:
    """The mutants that were looked at and change nothing."""
    found = set()
    for block in REVIEWED.read_text().split("\n\n"):
        if lines := [line for line in block.splitlines() if line and not line.startswith("#")]:
            went, came, why = ("\n".join(line[2:].strip() for line in lines if line[0] == sign) for sign in "-+=")
            assert why, f"{REVIEWED}: {lines[0]} has no reason"
            found.add(Survivor(lines[0], went, came))
    return found


def report(rooms: dict[str, list[str]], seed: int) -> bool:
    """Print the survivors and the score of each room; whether every room has enough."""
    equivalent, counts = reviewed(), {}
    for file, name, status in results():
        inside = str(file.relative_to("src/nightgate"))
        room = next((room for room, of in rooms.items() if inside in of or inside.split("/")[0] in of), inside)
        count = counts.setdefault(
            room, Counter(dict.fromkeys(("killed", "timeout", "untried", "equivalent", "survived"), 0))
        )
        if status in KILLED or status == "not checked":
            count["untried" if status == "not checked" else "killed"] += 1
            count["timeout"] += status == "timeout"
        elif (found := survivor(file, name)) in equivalent:
            count["equivalent"] += 1
        else:
            count["survived"] += 1
            print(f"{PACKAGE}/{inside}:{found.line()} {found.where.split()[1]} ({status})")
            print(
                "".join(f"{sign} {line}\n" for sign, of in zip("-+", found[1:], strict=True) for line in of.split("\n"))
            )
    good = True
    for room, of in counts.items():
        tried = of["killed"] + of["survived"]
        score = 100 * of["killed"] / tried if tried else 0.0
        good = good and score >= LEAST
        print(f"{room}: {score:.1f} %, {of['killed']} of {tried} killed ({of['timeout']} by a time-out), "
              f"{of['equivalent']} equivalent, {of['untried']} not tried")  # fmt: skip
    if any(of["untried"] for of in counts.values()):
        print(f"The time did not suffice for all of them: this is a sample, drawn by seed {seed}.")
    return good
