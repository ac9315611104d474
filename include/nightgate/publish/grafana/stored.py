"""What both of Grafana's APIs say about a dashboard, and what either must be able to do."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Protocol

from pydantic import JsonValue

from nightgate.errors import InputError
from nightgate.publish.jsonvalue import JsonObject

_UID_LIMIT = 40
_TITLE_LIMIT = 189  # of a folder, in characters: what every database that Grafana supports can hold


@dataclass(frozen=True, slots=True)
class Stored:
    """A dashboard as Grafana has it. ``revision`` is what a later write must name so that it overwrites nothing else."""

    board: JsonObject
    folder: str
    version: int
    url: str
    revision: str = ""
    provisioned: bool = False


class Api(Protocol):
    """Folders and dashboards of one Grafana. Every method raises GrafanaError."""

    verbatim: bool
    """Whether a dashboard is read exactly as it was written."""

    def find_folder(self, title: str) -> str | None:
        """The uid of the folder with this title; None when there is none."""

    def make_folder(self, title: str) -> str:
        """Make it, with a uid that follows from its title; returns the uid."""

    def read(self, uid: str) -> Stored | None:
        """A dashboard; None when there is none."""

    def write(self, board: JsonObject, folder: str, message: str, over: Stored | None) -> None:
        """Create a dashboard, or replace ``over``."""


def count(version: JsonValue) -> int:
    """Grafana's count of versions; 0 for what is none."""
    return version if isinstance(version, int) else 0


def folder_title(name: str) -> str:
    """The title of the folder that GRAFANA_FOLDER names, without the spaces around it.

    Raises:
        InputError: it is a path of nested folders, or no folder can have it as its title.
    """
    title = name.strip()
    if not title or not title.isprintable() or len(title) > _TITLE_LIMIT:
        raise InputError(
            f"GRAFANA_FOLDER={name!r} is no title of a folder", f"write 1 to {_TITLE_LIMIT} characters in one line"
        )
    if "/" in title:
        raise InputError(
            f"GRAFANA_FOLDER={name!r} is a path, and the dashboards go into one folder at the top",
            "write a title without '/'",
        )
    if title.lower() == "general":
        raise InputError(
            f"GRAFANA_FOLDER={name!r} is what Grafana calls the place of dashboards without a folder",
            "write another title",
        )
    return title


def folder_uid(title: str) -> str:
    """A uid that follows from a folder's title: its letters and digits, at most 40 of them.

    A title that does not fit, or has none, is told from others by a hash.
    """
    slug = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
    if slug and len(slug) <= _UID_LIMIT and title.isascii():
        return slug
    return f"{slug[: _UID_LIMIT - 13]}-{hashlib.sha256(title.encode()).hexdigest()[:12]}".lstrip("-")
