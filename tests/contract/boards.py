"""Dashboards small enough for a test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def board(**more: Any) -> dict[str, Any]:
    return {
        "id": None,
        "uid": "board",
        "title": "A board",
        "tags": ["slo"],
        "schemaVersion": 41,
        "templating": {"list": [{"name": "datasource", "type": "datasource", "query": "prometheus"}]},
        "panels": [panel(1)],
        **more,
    }


def panel(number: int, **more: Any) -> dict[str, Any]:
    return {
        "id": number,
        "type": "stat",
        "title": f"Panel {number}",
        "description": "What it shows.",
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "targets": [{"refId": "A", "expr": "up"}],
        "fieldConfig": {"defaults": {"unit": "s"}},
        "gridPos": {"h": 4, "w": 4, "x": 4 * (number - 1), "y": 0},
        **more,
    }


def files_of(folder: Path, *uids: str) -> list[Path]:
    """A dashboard with each of these uids, in a file that is called after it."""
    files = [folder / f"{uid}.json" for uid in uids]
    for file, uid in zip(files, uids, strict=True):
        file.write_text(json.dumps(board(uid=uid, title=uid)))
    return files
