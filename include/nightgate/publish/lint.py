"""Check dashboard files before Grafana sees them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

from nightgate.errors import InputError
from nightgate.publish import boardfile, boardmodel, queries
from nightgate.publish.boardmodel import Board, Panel, Place, WrongTypes
from nightgate.publish.jsonvalue import JsonObject

_UID = re.compile(r"[A-Za-z0-9_-]{1,40}")
_LONGEST_TITLE = 5000
_COLUMNS = 24
_ASKING = ("query", "adhoc", "groupby")  # the kinds of variables that ask a datasource


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
    boards: dict[Path, JsonObject] = {}
    problems: dict[Path, list[str]] = {}
    for file in files:
        try:
            boards[file] = boardfile.read(file)
            problems[file] = problems_of(boards[file])
        except InputError as error:
            problems[file] = [error.what]
    for key in ("uid", "title"):
        owners: dict[str, list[Path]] = defaultdict(list)
        for file, board in boards.items():
            if isinstance(value := board.get(key), str) and value.strip():
                owners[value.strip()].append(file)
        for value, same in owners.items():
            for file in same if len(same) > 1 else ():
                others = " and ".join(other.name for other in same if other != file)
                problems[file].append(f"{others} {'has' if len(same) == 2 else 'have'} the same {key} {value!r}")
    return problems


def problems_of(document: JsonObject) -> list[str]:
    """What is wrong with a classic dashboard, a sentence each."""
    try:
        board = boardmodel.board(document)
    except WrongTypes as error:
        return error.sentences
    problems = [*_head(board)]
    sources, panels = board.sources, list(board.every_panel())
    if not sources and any(queries.asks(panel) for panel in panels):
        problems.append("it has no datasource variable")
    if not panels:
        problems.append("it has no panels")
    ids = [panel.id for panel in panels]
    if len(set(ids)) != len(ids) or None in ids:
        problems.append("the ids of its panels are not unique")
    for variable in board.variables:
        if variable.type in _ASKING:
            problems += queries.problems_beside(variable.datasource, f"variable {variable.name!r}", sources)
    for annotation in board.annotation_queries:
        problems += queries.problems_beside(annotation.datasource, f"annotation {annotation.name!r}", sources)
    for panel in panels:
        problems += _panel_problems(panel, sources, set(ids))
    for group in (board.panels, *(panel.panels for panel in panels)):
        problems += _overlaps(group or [])
    return problems


def _head(board: Board) -> Iterator[str]:
    title = board.title or ""
    if not title.strip():
        yield "it has no title"
    elif title != title.strip() or len(title) > _LONGEST_TITLE:
        yield f"its title must be at most {_LONGEST_TITLE} characters, without spaces around it"
    if not _UID.fullmatch(board.uid or ""):
        yield "its uid must be 1 to 40 letters, digits, - or _"
    if board.id is not None:
        yield "its id must be null"


def _panel_problems(panel: Panel, sources: set[str], ids: set[int | None]) -> Iterator[str]:
    name = f"panel {panel.title or panel.id!r}"
    if panel.libraryPanel:
        yield f"{name} is a library panel, whose content is in one Grafana only: unlink it there and export again"
        return
    if not panel.type:
        yield f"{name} has no type"
    elif queries.asks(panel):
        yield from _shown(panel, name)
        yield from queries.problems(panel, name, sources, ids)


def _shown(panel: Panel, name: str) -> Iterator[str]:
    if not panel.title:
        yield f"{name} has no title"
    if not panel.description:
        yield f"{name} has no description"
    if not panel.unit:
        yield f"{name} has no unit"


class _Box(NamedTuple):
    """A panel on the grid: its name, and where it begins and ends."""

    name: str
    left: float
    right: float
    top: float
    bottom: float

    def overlaps(self, other: _Box) -> bool:
        beside = self.left >= other.right or other.left >= self.right
        above = self.top >= other.bottom or other.top >= self.bottom
        return not (beside or above)


def _overlaps(panels: list[Panel]) -> Iterator[str]:
    boxes: list[_Box] = []
    for panel in panels:
        box = _box(panel)
        if box is None:
            yield f"panel {panel.title or panel.id!r} has no place on the {_COLUMNS} columns"
            return
        boxes.append(box)
    for one, other in combinations(boxes, 2):
        if one.overlaps(other):
            yield f"panels {one.name} and {other.name} overlap"


def _box(panel: Panel) -> _Box | None:
    """Where a panel is; None when that is no place on the grid."""
    place = panel.gridPos or Place()
    h, w, x, y = place.h, place.w, place.x, place.y
    if h is None or w is None or x is None or y is None:
        return None
    if h <= 0 or w <= 0 or x < 0 or y < 0 or x + w > _COLUMNS:
        return None
    return _Box(repr(panel.title or panel.id), x, x + w, y, y + h)
