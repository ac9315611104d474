"""Folders and dashboards through ``/api``, which every Grafana until now has."""

from __future__ import annotations

from nightgate.publish.grafana.client import Client
from nightgate.publish.grafana.errors import GrafanaError
from nightgate.publish.grafana.stored import Stored, count, folder_uid
from nightgate.publish.jsonvalue import JsonObject

_ABSENT = (404,)


class Legacy:
    """``POST /api/dashboards/db``: ``id: null``, a fixed uid and ``overwrite`` make an upsert that can be repeated."""

    verbatim = True

    def __init__(self, client: Client) -> None:
        self._client = client

    def find_folder(self, title: str) -> str | None:
        uid = folder_uid(title)
        if self._client.get(f"/api/folders/{uid}", "folders:read", _ABSENT):
            return uid
        # one that somebody made by hand has the title and another uid
        listed = self._client.listed("/api/folders", "folders:read", _ABSENT, {"limit": 1000}) or []
        return next((str(folder.get("uid")) for folder in listed if folder.get("title") == title), None)

    def make_folder(self, title: str) -> str:
        try:
            made = self._client.write(
                "POST", "/api/folders", {"uid": folder_uid(title), "title": title}, "folders:create"
            )
        except GrafanaError as error:
            if not (error.unsure or error.status in (400, 409, 412)):
                raise
            if existing := self.find_folder(title):  # another upload made it at the same moment, or this one did
                return existing
            raise
        return str(made.get("uid") or folder_uid(title))

    def read(self, uid: str) -> Stored | None:
        answer = self._client.get(f"/api/dashboards/uid/{uid}", "dashboards:read", _ABSENT)
        if answer is None:
            return None
        board, meta = answer.get("dashboard"), answer.get("meta")
        if not isinstance(board, dict) or not isinstance(meta, dict):
            raise self._client.foreign()
        return Stored(
            board=board,
            folder=str(meta.get("folderUid") or ""),
            version=count(board.get("version")),
            url=self._client.link(str(meta.get("url") or f"/d/{uid}")),
            provisioned=bool(meta.get("provisioned")),
        )

    def write(self, board: JsonObject, folder: str, message: str, over: Stored | None) -> None:
        # the stored version is named as well: Grafana 12.0 does not heed `overwrite`
        body: JsonObject = {
            "dashboard": board | {"id": None, "version": over.version if over else 0},
            "folderUid": folder,
            "message": message,
            "overwrite": True,
        }
        answer = self._client.write(
            "POST", "/api/dashboards/db", body, "dashboards:write" if over else "dashboards:create"
        )
        if "uid" not in answer:
            raise self._client.foreign()
