"""Check a dashboard file before Grafana sees it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_UID = re.compile(r"[A-Za-z0-9_-]{1,40}")


def check(file: Path) -> list[str]:
    """What is wrong with a dashboard file, a sentence each; empty when it is fit to upload.

    The rules are those of grafana/dashboard-linter that this project holds, and the limits of Grafana's API.
    """
    try:
        board = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        return [f"it cannot be read as JSON ({error})"]
    if not isinstance(board, dict):
        return ["it is not a JSON object"]
    problems = []
    if not board.get("title"):
        problems.append("it has no title")
    if not _UID.fullmatch(str(board.get("uid") or "")):
        problems.append("its uid must be 1 to 40 letters, digits, - or _")
    if board.get("id", "") is not None:
        problems.append("its id must be null")
    variables = (board.get("templating") or {}).get("list") or []
    sources = {f"${{{variable.get('name')}}}" for variable in variables if variable.get("type") == "datasource"}
    if not sources:
        problems.append("it has no datasource variable")
    panels = list(_panels(board))
    if not panels:
        problems.append("it has no panels")
    ids = [panel.get("id") for panel in panels]
    if len(set(ids)) != len(ids) or None in ids:
        problems.append("the ids of its panels are not unique")
    for panel in panels:
        problems += _panel_problems(panel, sources)
    return [*problems, *_overlaps(board.get("panels") or [])]


def _panels(board: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every panel, those inside collapsed rows included; rows themselves are headings and pass."""
    for panel in board.get("panels") or []:
        yield panel
        yield from panel.get("panels") or []


def _panel_problems(panel: dict[str, Any], sources: set[str]) -> Iterator[str]:
    name = f"panel {panel.get('title') or panel.get('id')!r}"
    if not panel.get("title"):
        yield f"{name} has no title"
    if panel.get("type") == "row":
        return
    if not panel.get("description"):
        yield f"{name} has no description"
    if not ((panel.get("fieldConfig") or {}).get("defaults") or {}).get("unit"):
        yield f"{name} has no unit"
    if (panel.get("datasource") or {}).get("uid") not in sources:
        yield f"{name} does not use the datasource variable"
    targets = panel.get("targets") or []
    if not targets or not all(target.get("expr") for target in targets):
        yield f"{name} has no target, or one without an expression"


def _overlaps(panels: list[dict[str, Any]]) -> Iterator[str]:
    boxes = [(panel.get("title"), panel.get("gridPos") or {}) for panel in panels]
    for title, box in boxes:
        if set(box) != {"h", "w", "x", "y"} or box["x"] + box["w"] > 24:
            yield f"panel {title!r} has no place on the 24 columns"
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
