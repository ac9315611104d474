"""Folders and dashboards through ``/apis``, the API of Grafana 12 and later, for a server without the older one.

It rewrites a dashboard to its newest schema when it is read, so what comes back is not what was sent.
"""

from __future__ import annotations

from nightgate.publish.grafana.client import Client
from nightgate.publish.grafana.errors import GrafanaError
from nightgate.publish.grafana.stored import Stored, count, folder_uid
from nightgate.publish.jsonvalue import JsonObject, part, parts

_VERSIONS = ("v1", "v1beta1")  # the best first
_NAMESPACE = "default"  # of the first organization, the only one of most servers
_ABSENT = (404,)
_FOLDER, _MESSAGE = "grafana.app/folder", "grafana.app/message"


class Apps:
    """Resources as in Kubernetes: POST creates, PUT replaces the ``resourceVersion`` it names, else 409."""

    verbatim = False

    def __init__(self, client: Client) -> None:
        self._client = client
        self._known: dict[str, str] = {}

    def find_folder(self, title: str) -> str | None:
        folders = self._path("folder", "folders")
        uid = folder_uid(title)
        if self._client.get(f"{folders}/{uid}", "folders:read", _ABSENT):
            return uid
        listed = self._client.get(folders, "folders:read", _ABSENT, {"limit": 1000}) or {}
        same = [folder for folder in parts(listed, "items") if part(folder, "spec").get("title") == title]
        return str(part(same[0], "metadata").get("name")) if same else None

    def make_folder(self, title: str) -> str:
        uid = folder_uid(title)
        body: JsonObject = {"metadata": {"name": uid}, "spec": {"title": title}}
        try:
            self._client.write("POST", self._path("folder", "folders"), body, "folders:create")
        except GrafanaError as error:
            if not (error.unsure or error.status == 409):
                raise
            if existing := self.find_folder(title):
                return existing
            raise
        return uid

    def read(self, uid: str) -> Stored | None:
        answer = self._client.get(f"{self._path('dashboard', 'dashboards')}/{uid}", "dashboards:read", _ABSENT)
        if answer is None:
            return None
        meta = part(answer, "metadata")
        notes = part(meta, "annotations")
        return Stored(
            board=part(answer, "spec"),
            folder=str(notes.get(_FOLDER) or ""),
            version=count(meta.get("generation")),
            url=f"{self._client.base}/d/{uid}",
            revision=str(meta.get("resourceVersion") or ""),
            provisioned=bool(notes.get("grafana.app/managedBy")),
        )

    def write(self, board: JsonObject, folder: str, message: str, over: Stored | None) -> None:
        uid, dashboards = board["uid"], self._path("dashboard", "dashboards")
        meta: JsonObject = {"name": uid, "annotations": {_FOLDER: folder, _MESSAGE: message}}
        spec: JsonObject = {key: value for key, value in board.items() if key not in ("id", "uid", "version")}
        if over:
            meta["resourceVersion"] = over.revision
            self._client.write("PUT", f"{dashboards}/{uid}", {"metadata": meta, "spec": spec}, "dashboards:write")
        else:
            self._client.write("POST", dashboards, {"metadata": meta, "spec": spec}, "dashboards:create")

    def _path(self, group: str, kind: str) -> str:
        """The path of a kind, in the best version that the server offers of its group."""
        if kind not in self._known:
            name = f"{group}.grafana.app"
            answer = self._client.get(f"/apis/{name}", absent=(404, 410)) or {}
            offered = [str(each.get("version")) for each in parts(answer, "versions")]
            version = next((version for version in _VERSIONS if version in offered), None)
            if version is None:
                what = (
                    f"Grafana at {self._client.host} has neither /api/dashboards/db nor a known version of /apis/{name}"
                )
                if offered:
                    raise GrafanaError(f"{what}, only {', '.join(offered)}", "use a newer Nightgate", general=True)
                step = "use a Grafana from 10 to 13, and let /api and /apis pass the proxy before it, if there is one"
                raise GrafanaError(what, step, general=True)
            self._known[kind] = f"/apis/{name}/{version}/namespaces/{_NAMESPACE}/{kind}"
        return self._known[kind]
