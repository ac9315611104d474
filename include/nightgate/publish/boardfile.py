"""The dashboard in a file: what Grafana's exports look like, and which of them can be uploaded.

Grafana writes a dashboard in several forms: the classic model alone, the same wrapped by ``/api/dashboards`` (with
``meta``, or as the body of a save), the same as a resource of ``/apis`` (v0 and v1), and schema v2, which is another
model and is refused.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path

from pydantic import JsonValue

from nightgate.errors import InputError
from nightgate.publish.jsonvalue import JsonObject, part

_LARGEST = 10_000_000  # bytes; Grafana's own limits are below it
_GROUP = "dashboard.grafana.app"
_WRAPPERS = {"dashboard", "meta", "overwrite", "message"}
_PLACES = ("folderUid", "folderId", "folderTitle")
_AGAIN = "export it again with the model Classic"


def read(file: Path) -> JsonObject:
    """The classic dashboard in ``file``, taken out of its wrapping.

    Raises:
        InputError: it is none, or one that cannot be uploaded as it is; the message begins with "it".
    """
    return unwrapped(_parsed(file))


def unwrapped(document: JsonValue) -> JsonObject:
    """The classic dashboard in what a file holds; raises as `read`."""
    if not isinstance(document, dict):
        raise InputError("it is not a JSON object")
    if "apiVersion" in document or "kind" in document:
        document = _of_resource(document)
    elif isinstance(document.get("dashboard"), dict):
        document = _of_wrapper(document)
    elif "dashboard" in document and "panels" not in document:
        raise InputError("it wraps a dashboard that is not a JSON object")
    if "elements" in document and "panels" not in document:
        raise InputError(f"it is a dashboard of schema v2, which the upload does not know: {_AGAIN}")
    for key, what in (("__inputs", "inputs"), ("__elements", "library panels")):
        if document.get(key):
            raise InputError(
                f"it is an export for sharing, and only an import by hand fills in its {what} "
                f"({', '.join(_names(document[key]))}): export it again without sharing it externally"
            )
    if isinstance(document.get("rows"), list) and "panels" not in document:
        raise InputError(f"its panels lie in rows, as before Grafana 5: open it in Grafana and {_AGAIN}")
    return document


def _parsed(file: Path) -> JsonValue:
    if not file.is_file():
        raise InputError("it cannot be read as JSON (it is not a file)")
    try:
        if file.stat().st_size > _LARGEST:
            raise InputError(f"it is larger than {_LARGEST // 10**6} MB, which no Grafana accepts")
        text = file.read_bytes().decode("utf-8-sig")
        document: JsonValue = json.loads(text, object_pairs_hook=_object, parse_float=_finite, parse_constant=_finite)
        return document
    except UnicodeDecodeError:
        raise InputError("it cannot be read as JSON (it is not UTF-8 text)") from None
    except RecursionError:
        raise InputError("it cannot be read as JSON (it is nested too deeply)") from None
    except (OSError, ValueError) as error:
        raise InputError(f"it cannot be read as JSON ({error})") from None


def _object(pairs: list[tuple[str, JsonValue]]) -> JsonObject:
    """Of a key that comes twice one value would be lost, and the reader could not tell which."""
    twice = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]
    if twice:
        raise InputError(f"it has the key {twice[0]!r} twice in one object")
    return dict(pairs)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise InputError(f"it holds the number {text}, which JSON does not have")
    return value


def _of_resource(document: JsonObject) -> JsonObject:
    """From ``{"apiVersion": "dashboard.grafana.app/v1…", "kind": "Dashboard", "metadata": …, "spec": …}``."""
    group, _, version = str(document.get("apiVersion")).partition("/")
    kind, spec, metadata = document.get("kind"), document.get("spec"), document.get("metadata")
    if group != _GROUP or kind != "Dashboard":
        raise InputError(f"it is a {kind} of {document.get('apiVersion')} and not a dashboard")
    if version.startswith("v2"):
        raise InputError(
            f"it is a dashboard of schema v2 ({group}/{version}), which the upload does not know: {_AGAIN}"
        )
    if not version.startswith(("v0", "v1")):
        raise InputError(f"it is a dashboard of {group}/{version}, which the upload does not know: {_AGAIN}")
    if not isinstance(spec, dict) or not isinstance(metadata, dict):
        raise InputError("it is a resource without spec or metadata")
    name = metadata.get("name")
    if "uid" in spec and name and spec["uid"] not in (None, "", name):
        raise InputError(f"it has two uids, {spec['uid']!r} in its spec and {name!r} in its metadata")
    return {**spec, "id": None, "uid": name or spec.get("uid")}


def _of_wrapper(document: JsonObject) -> JsonObject:
    """From what ``/api/dashboards/uid`` answers, or what ``/api/dashboards/db`` takes.

    The ``id`` is that of the server it came from, and ``meta`` says where it lay there.
    """
    if places := [key for key in _PLACES if document.get(key)]:
        raise InputError(
            f"it names a folder of its own ({places[0]}), and all dashboards go into GRAFANA_FOLDER: leave {places[0]} out"
        )
    if unknown := [key for key in document if key not in _WRAPPERS and key not in _PLACES]:
        raise InputError(f"it wraps a dashboard and holds {unknown[0]!r} beside it, which is not understood")
    return {**part(document, "dashboard"), "id": None}


def _names(listed: JsonValue) -> list[str]:
    if isinstance(listed, dict):
        return [str(key) for key in listed]
    values = listed if isinstance(listed, list) else [listed]
    return [str(each.get("name")) if isinstance(each, dict) else str(each) for each in values]
