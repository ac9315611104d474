"""What both of Grafana's APIs say about a dashboard, and what either must be able to do."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any, Protocol

_UID_LIMIT = 40


@dataclass(frozen=True, slots=True)
class Stored:
    """A dashboard as Grafana has it. ``revision`` is what a later write must name so that it overwrites nothing else."""

    board: dict[str, Any]
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

    def write(self, board: dict[str, Any], folder: str, message: str, over: Stored | None) -> None:
        """Create a dashboard, or replace ``over``."""


def folder_uid(title: str) -> str:
    """A uid that follows from a folder's title: its letters and digits, at most 40 of them.

    A title that does not fit, or has none, is told from others by a hash.
    """
    slug = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
    if slug and len(slug) <= _UID_LIMIT and title.isascii():
        return slug
    return f"{slug[: _UID_LIMIT - 13]}-{hashlib.sha256(title.encode()).hexdigest()[:12]}".lstrip("-")
