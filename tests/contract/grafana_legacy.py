"""What ``/api`` answers: folders, dashboards and annotations, with Grafana's limits and its order of checks."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from contract.grafana_model import Board, Refused, Request

if TYPE_CHECKING:
    from contract.grafana_server import GrafanaServer

UID = re.compile(r"[A-Za-z0-9_-]{1,40}")


def answer(server: GrafanaServer, request: Request, parts: list[str]) -> tuple[int, Any] | None:
    match (request.method, *parts):
        case ("GET", "api", "search"):
            return 200, [{"uid": uid, "title": board.spec["title"]} for uid, board in server.boards.items()]
        case ("GET", "api", "folders"):
            server.need("folders:read")
            return 200, [{"uid": uid, "title": title} for uid, title in server.folders.items()]
        case ("GET", "api", "folders", uid):
            server.need("folders:read")
            if uid not in server.folders:
                raise Refused(404, "folder not found")
            return 200, {"uid": uid, "title": server.folders[uid], "version": 1}
        case ("POST", "api", "folders"):
            return make_folder(server, request.body.get("uid"), request.body.get("title"))
        case ("GET", "api", "dashboards", "uid", uid):
            return read(server, uid)
        case ("POST", "api", "dashboards", "db"):
            return save(server, request.body)
    return None


def make_folder(server: GrafanaServer, uid: str | None, title: str | None) -> tuple[int, Any]:
    server.need("folders:create")
    if not title:
        raise Refused(400, "folder title cannot be empty")
    if not uid or not UID.fullmatch(uid):
        raise Refused(400, "uid contains illegal characters or is too long")
    if uid in server.folders:
        raise Refused(412, "the folder has been changed by someone else", "version-mismatch")
    if title in server.folders.values():
        raise Refused(409, "a folder with the same name already exists in the current location")
    server.folders[uid] = title
    return 200, {"uid": uid, "title": title, "version": 1}


def read(server: GrafanaServer, uid: str) -> tuple[int, Any]:
    server.need("dashboards:read")
    if uid not in server.boards:
        raise Refused(404, "Dashboard not found", "not-found")
    board = server.boards[uid]
    meta = {
        "url": f"{server.prefix}/d/{uid}/a-slug",
        "version": board.version,
        "folderUid": board.folder,
        "provisioned": board.provisioned,
        "canSave": "dashboards:write" in server.permissions,
    }
    return 200, {"dashboard": board.spec | {"id": 7, "uid": uid, "version": board.version}, "meta": meta}


def save(server: GrafanaServer, body: dict[str, Any]) -> tuple[int, Any]:
    board, uid = body.get("dashboard") or {}, (body.get("dashboard") or {}).get("uid") or ""
    known = server.boards.get(uid)
    if not board.get("title"):
        raise Refused(400, "Dashboard title cannot be empty", "empty-name")
    if len(board["title"]) > 5000:
        raise Refused(400, "Dashboard title cannot contain more than 5000 characters")
    if not UID.fullmatch(uid):
        raise Refused(400, "uid contains illegal characters or is longer than 40 characters")
    if len((body.get("message") or "").encode()) > 500:
        raise Refused(400, "Message cannot be longer than 500 characters")
    if body.get("folderUid") and body["folderUid"] not in server.folders:
        raise Refused(400, "folder not found")
    if board.get("id") is not None:
        raise Refused(404, "Dashboard not found", "not-found")
    if any("alert" in panel for panel in board.get("panels") or []):
        raise Refused(422, "invalid alert data: alerts of panels are not supported any more")
    server.need("dashboards:write")
    if known is None:
        server.need("dashboards:create")
    elif known.provisioned:
        raise Refused(400, "Cannot save provisioned dashboard")
    elif known.plugin and not body.get("overwrite"):
        raise Refused(412, "The dashboard belongs to plugin a-plugin.", "plugin-dashboard")
    elif not body.get("overwrite") and board.get("version") != known.version:
        raise Refused(412, "The dashboard has been changed by someone else", "version-mismatch")
    stored = known or Board(spec={}, folder="")
    stored.spec = {key: value for key, value in board.items() if key not in ("id", "uid", "version")}
    stored.folder = body.get("folderUid") or ""  # without one it moves to the root
    stored.versions.append(body.get("message") or "")
    server.boards[uid] = stored
    return 200, {
        "id": 7,
        "uid": uid,
        "url": f"{server.prefix}/d/{uid}/a-slug",
        "status": "success",
        "version": stored.version,
        "slug": "a-slug",
        "folderUid": stored.folder,
    }


def annotations(server: GrafanaServer, request: Request) -> tuple[int, Any]:
    if request.method == "GET":
        server.need("annotations:read")
        return 200, _found(server, request.query)
    server.need("annotations:create")
    body = request.body
    if not body.get("text"):
        raise Refused(400, "Failed to save annotation: text field should not be empty")
    if body.get("dashboardUID") and body["dashboardUID"] not in server.boards:
        raise Refused(404, "Dashboard not found")
    tags = []
    for tag in body.get("tags") or []:
        key, *values = (part.strip() for part in tag.split(":"))
        if any(len(value.encode()) > 100 for value in (key, *values)):
            raise Refused(500, "Failed to save annotation: a tag is too long")
        tags.append(":".join((key, *values[:1])))  # all after a second ":" is lost
    number = len(server.annotations) + 1
    server.annotations.append(body | {"id": number, "tags": tags})
    return 200, {"message": "Annotation added", "id": number}


def _found(server: GrafanaServer, query: dict[str, list[str]]) -> list[dict[str, Any]]:
    """Tags are AND-ed; newest first, 100 unless asked for more."""
    start, end = (int(query.get(name, [default])[0]) for name, default in (("from", "0"), ("to", "0")))
    found = [
        each
        for each in server.annotations
        if set(query.get("tags") or ()) <= set(each["tags"])
        and query.get("dashboardUID", [each.get("dashboardUID")])[0] == each.get("dashboardUID")
        and (not end or (each["time"] <= end and each["timeEnd"] >= start))
    ]
    found.sort(key=lambda each: -each["time"])
    return found[: int(query.get("limit", ["100"])[0])]
