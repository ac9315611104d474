"""What is sent to Grafana, and how it differs from what Grafana has.

Grafana counts its own versions; ours is a timestamp and goes into a tag and into the message of the version history.
A second tag holds a hash of the content, by which it is found again on a server that rewrites what it stores.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from pydantic import JsonValue

from nightgate.publish.jsonvalue import JsonObject, texts

_MESSAGE_LIMIT = 500  # bytes of a version message
_VERSION_TAG = re.compile(r"v\d{4}-\d\d-\d\dT\d\d:\d\dZ")
_HASH_TAG = re.compile(r"sha256-[0-9a-f]{12}")
_SERVERS = ("id", "uid", "version")  # Grafana sets these itself


def stamped(board: JsonObject, now: datetime) -> tuple[JsonObject, str]:
    """The dashboard with ``id: null`` and both tags, and the version tag alone."""
    tag = f"v{now:%Y-%m-%dT%H:%MZ}"
    tags: list[JsonValue] = [*_own_tags(board), tag, f"sha256-{content_hash(board)}"]
    return {**board, "id": None, "tags": tags}, tag


def content_hash(board: JsonObject) -> str:
    """12 hex digits over everything but the id, the uid, the version and our tags."""
    own = {key: value for key, value in board.items() if key not in _SERVERS}
    own["tags"] = [*_own_tags(board)]
    return hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()[:12]


def version_tag(board: JsonObject) -> str:
    """The version tag that a stored dashboard carries; "" when it has none."""
    return next((tag for tag in texts(board, "tags") if _VERSION_TAG.fullmatch(tag)), "")


def message(text: str, folder: Path, now: datetime) -> str:
    """Time, git revision and ``text``, as the version history shows them; cut where Grafana refuses more."""
    revision = git_revision(folder)
    parts = [f"{now:%Y-%m-%d %H:%M:%S} UTC", f"git {revision}" if revision else "", text]
    return " · ".join(part for part in parts if part).encode()[:_MESSAGE_LIMIT].decode(errors="ignore")


def differences(sent: JsonObject, stored: JsonObject, *, verbatim: bool = True) -> list[str]:
    """The paths at which a stored dashboard is not what was sent, such as ``panels[2].title``; empty when it is.

    Our version tag does not count, nor does what only Grafana sets: keys at the top level that were not sent, and
    empty values elsewhere. ``verbatim=False`` is for an API that rewrites dashboards: title and hash tag decide.
    """
    sent, stored = _comparable(sent), _comparable(stored)
    if not verbatim:
        sent = {key: sent.get(key) for key in ("title", "tags")}
    stored = {key: stored.get(key) for key in sent}
    return list(_differ(sent, stored, ""))


def git_revision(folder: Path) -> str | None:
    """The short revision of the checkout that holds ``folder``; None outside of one."""
    command = ["git", "-C", str(folder), "rev-parse", "--short", "HEAD"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None if answer.returncode == 0 else None


def now() -> datetime:
    return datetime.now(UTC)


def _own_tags(board: JsonObject) -> list[str]:
    """The tags without ours, which an export of an uploaded dashboard holds too."""
    return [tag for tag in texts(board, "tags") if not (_VERSION_TAG.fullmatch(tag) or _HASH_TAG.fullmatch(tag))]


def _comparable(board: JsonObject) -> JsonObject:
    tags = sorted(tag for tag in texts(board, "tags") if not _VERSION_TAG.fullmatch(tag))
    return {**{key: value for key, value in board.items() if key not in _SERVERS}, "tags": [*tags]}


def _differ(sent: JsonValue, stored: JsonValue, place: str) -> Iterator[str]:
    if isinstance(sent, dict) and isinstance(stored, dict):
        for key in [*sent, *(key for key in stored if key not in sent)]:
            yield from _differ(sent.get(key), stored.get(key), f"{place}.{key}".lstrip("."))
    elif isinstance(sent, list) and isinstance(stored, list) and len(sent) == len(stored):
        for number, (one, other) in enumerate(zip(sent, stored, strict=True)):
            yield from _differ(one, other, f"{place}[{number}]")
    elif sent != stored and not (sent is None and not stored):
        yield place
