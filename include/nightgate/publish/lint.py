"""Check dashboard files before Grafana sees them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nightgate.errors import InputError
from nightgate.publish import boardfile, queries

_UID = re.compile(r"[A-Za-z0-9_-]{1,40}")
_LONGEST_TITLE = 5000
_COLUMNS = 24
_ASKING = ("query", "adhoc", "groupby")  # the kinds of variables that ask a datasource


_TYPES = {
    "model_type": "an object",
    "dict_type": "an object",
    "list_type": "a list",
    "string_type": "a text",
    "int_type": "a whole number",
    "float_type": "a number",
}
"""What pydantic finds missing, in words."""


class _Shape(BaseModel):
    """What is read of a dashboard has these types; whatever else it holds is Grafana's."""

    model_config = ConfigDict(extra="allow", strict=True)


class _Variable(_Shape):
    name: str | None = None
    type: str | None = None


class _Annotations(_Shape):
    entries: list[dict[str, Any]] | None = Field(default=None, alias="list")


class _Variables(_Shape):
    entries: list[_Variable] | None = Field(default=None, alias="list")


class _Defaults(_Shape):
    unit: str | None = None


class _FieldConfig(_Shape):
    defaults: _Defaults | None = None


class _Place(_Shape):
    h: float | None = None
    w: float | None = None
    x: float | None = None
    y: float | None = None


class _Panel(_Shape):
    id: int | None = None
    type: str | None = None
    title: str | None = None
    description: str | None = None
    targets: list[dict[str, Any]] | None = None
    fieldConfig: _FieldConfig | None = None
    gridPos: _Place | None = None
    libraryPanel: dict[str, Any] | None = None
    panels: list[_Panel] | None = None


class _Board(_Shape):
    title: str | None = None
    uid: str | None = None
    tags: list[str] | None = None
    templating: _Variables | None = None
    annotations: _Annotations | None = None
    panels: list[_Panel] | None = None


def check(file: Path) -> list[str]:
    """What is wrong with a dashboard file, a sentence each; empty when it is fit to upload.

    The rules are those of grafana/dashboard-linter that this project holds, and the limits of Grafana's API.
    """
    try:
        return problems_of(boardfile.read(file))
    except InputError as error:
        return [error.what]


def check_all(files: Sequence[Path]) -> dict[Path, list[str]]:
    """What is wrong with each of the files that are uploaded together; see `check`.

    Two with one uid would replace each other at every upload, and an older Grafana takes a title once in a folder.
    """
    boards: dict[Path, dict[str, Any]] = {}
    found: dict[Path, list[str]] = {}
    for file in files:
        try:
            boards[file] = boardfile.read(file)
            found[file] = problems_of(boards[file])
        except InputError as error:
            found[file] = [error.what]
    for key in ("uid", "title"):
        owners: dict[str, list[Path]] = defaultdict(list)
        for file, board in boards.items():
            if isinstance(value := board.get(key), str) and value.strip():
                owners[value.strip()].append(file)
        for value, same in owners.items():
            for file in same if len(same) > 1 else ():
                others = " and ".join(other.name for other in same if other != file)
                found[file].append(f"{others} {'has' if len(same) == 2 else 'have'} the same {key} {value!r}")
    return found


def problems_of(board: dict[str, Any]) -> list[str]:
    """What is wrong with a classic dashboard, a sentence each."""
    try:
        _Board.model_validate(board)
    except ValidationError as error:
        return list(dict.fromkeys(_wrong_type(each) for each in error.errors(include_url=False)))
    problems = [*_head(board)]
    variables = (board.get("templating") or {}).get("list") or []
    sources = {variable.get("name") for variable in variables if variable.get("type") == "datasource"} - {None, ""}
    panels = list(_panels(board))
    if not sources and any(queries.asks(panel) for panel in panels):
        problems.append("it has no datasource variable")
    if not panels:
        problems.append("it has no panels")
    ids = [panel.get("id") for panel in panels]
    if len(set(ids)) != len(ids) or None in ids:
        problems.append("the ids of its panels are not unique")
    for kind, each in _beside(board, variables):
        problems += queries.problems_beside(each, f"{kind} {each.get('name')!r}", sources)
    for panel in panels:
        problems += _panel_problems(panel, sources, set(ids))
    for group in (board, *panels):
        problems += _overlaps(group.get("panels") or [])
    return problems


def _head(board: dict[str, Any]) -> Iterator[str]:
    title = board.get("title") or ""
    if not title.strip():
        yield "it has no title"
    elif title != title.strip() or len(title) > _LONGEST_TITLE:
        yield f"its title must be at most {_LONGEST_TITLE} characters, without spaces around it"
    if not _UID.fullmatch(board.get("uid") or ""):
        yield "its uid must be 1 to 40 letters, digits, - or _"
    if board.get("id", "") is not None:
        yield "its id must be null"


def _wrong_type(error: Any) -> str:
    names = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in error["loc"]]
    return f"its {''.join(names).lstrip('.')} must be {_TYPES.get(error['type'], 'of another type')}"


def _panels(board: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every panel, rows and those inside collapsed rows included."""
    for panel in board.get("panels") or []:
        yield panel
        yield from _panels(panel)


def _beside(board: dict[str, Any], variables: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """What asks a datasource and is no panel."""
    for variable in variables:
        if variable.get("type") in _ASKING:
            yield "variable", variable
    for each in (board.get("annotations") or {}).get("list") or []:
        yield "annotation", each


def _panel_problems(panel: dict[str, Any], sources: set[str], ids: set[Any]) -> Iterator[str]:
    name = f"panel {panel.get('title') or panel.get('id')!r}"
    if panel.get("libraryPanel"):
        yield f"{name} is a library panel, whose content is in one Grafana only: unlink it there and export again"
        return
    if not panel.get("type"):
        yield f"{name} has no type"
    elif queries.asks(panel):
        yield from _shown(panel, name)
        yield from queries.problems(panel, name, sources, ids)


def _shown(panel: dict[str, Any], name: str) -> Iterator[str]:
    if not panel.get("title"):
        yield f"{name} has no title"
    if not panel.get("description"):
        yield f"{name} has no description"
    if not ((panel.get("fieldConfig") or {}).get("defaults") or {}).get("unit"):
        yield f"{name} has no unit"


def _overlaps(panels: list[dict[str, Any]]) -> Iterator[str]:
    boxes = [(panel.get("title") or panel.get("id"), panel.get("gridPos") or {}) for panel in panels]
    for title, box in boxes:
        if not _has_a_place(box.get):
            yield f"panel {title!r} has no place on the {_COLUMNS} columns"
            return
    for number, (title, a) in enumerate(boxes):
        for other, b in boxes[number + 1 :]:
            if (
                a["x"] < b["x"] + b["w"]
                and b["x"] < a["x"] + a["w"]
                and a["y"] < b["y"] + b["h"]
                and b["y"] < a["y"] + a["h"]
            ):
                yield f"panels {title!r} and {other!r} overlap"


def _has_a_place(box: Callable[[str], float | None]) -> bool:
    h, w, x, y = box("h"), box("w"), box("x"), box("y")
    if h is None or w is None or x is None or y is None:
        return False
    return h > 0 and w > 0 and x >= 0 and y >= 0 and x + w <= _COLUMNS
