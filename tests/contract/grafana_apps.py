"""What ``/apis`` answers: folders and dashboards as resources, in the way of Kubernetes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from contract.grafana_legacy import make_folder
from contract.grafana_model import Board, Refused, Request

if TYPE_CHECKING:
    from contract.grafana_server import GrafanaServer

VERSION = "v1beta1"


def answer(server: GrafanaServer, request: Request, parts: list[str]) -> tuple[int, Any] | None:
    match (request.method, *parts):
        case ("GET", "apis", "dashboard.grafana.app" | "folder.grafana.app" as group):
            return 200, {"kind": "APIGroup", "name": group, "versions": [{"version": VERSION}]}
        case (method, "apis", "dashboard.grafana.app", version, "namespaces", "default", "dashboards", *rest):
            return _dashboards(server, method, rest, request.body) if version == VERSION else None
        case (method, "apis", "folder.grafana.app", version, "namespaces", "default", "folders", *rest):
            return _folders(server, method, rest, request.body) if version == VERSION else None
    return None


def _folders(server: GrafanaServer, method: str, rest: list[str], body: Any) -> tuple[int, Any] | None:
    def resource(uid: str) -> dict[str, Any]:
        return {"metadata": {"name": uid}, "spec": {"title": server.folders[uid]}}

    if method == "POST" and not rest:
        if body["metadata"]["name"] in server.folders:
            raise Refused(409, "already exists", "Failure")
        make_folder(server, body["metadata"]["name"], body["spec"]["title"])
        return 201, resource(body["metadata"]["name"])
    server.need("folders:read")
    if not rest:
        return 200, {"items": [resource(uid) for uid in server.folders]}
    if rest[0] not in server.folders:
        raise Refused(404, "not found", "Failure")
    return 200, resource(rest[0])


def _dashboards(server: GrafanaServer, method: str, rest: list[str], body: Any) -> tuple[int, Any] | None:
    if method == "GET" and rest:
        server.need("dashboards:read")
        if rest[0] not in server.boards:
            raise Refused(404, "not found", "Failure")
        return 200, _resource(rest[0], server.boards[rest[0]])
    if method not in ("POST", "PUT"):
        return None
    server.need("dashboards:write")
    uid = body["metadata"]["name"]
    known = server.boards.get(uid)
    if method == "POST":
        server.need("dashboards:create")
        if known:
            raise Refused(409, f"dashboards.dashboard.grafana.app {uid!r} already exists", "Failure")
    elif known is None:
        raise Refused(404, "not found", "Failure")
    elif body["metadata"].get("resourceVersion") not in (None, str(known.version)):
        raise Refused(409, "the object has been modified", "Failure")
    notes = body["metadata"].get("annotations") or {}
    folder = notes.get("grafana.app/folder") or ""
    if folder and folder not in server.folders:
        raise Refused(400, "folder not found", "Failure")
    stored = known or Board(spec={}, folder="")
    stored.spec, stored.folder = body["spec"], folder
    stored.versions.append(notes.get("grafana.app/message") or "")
    server.boards[uid] = stored
    return (201 if method == "POST" else 200), _resource(uid, stored)


def _resource(uid: str, board: Any) -> dict[str, Any]:
    """As it is read: in the newest schema, with defaults that nobody sent."""
    panels = [panel | {"transparent": False, "pluginVersion": "12.4.0"} for panel in board.spec.get("panels") or []]
    meta = {
        "name": uid,
        "resourceVersion": str(board.version),
        "generation": board.version,
        "annotations": {"grafana.app/folder": board.folder},
    }
    return {"kind": "Dashboard", "metadata": meta, "spec": board.spec | {"schemaVersion": 42, "panels": panels}}
