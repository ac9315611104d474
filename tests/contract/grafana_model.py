"""What the contract server keeps and how it refuses."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Request:
    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: Any

    @property
    def writes(self) -> bool:
        return self.method != "GET"


@dataclass
class Board:
    """A stored dashboard; ``versions`` holds the message of each version."""

    spec: dict[str, Any]
    folder: str
    versions: list[str] = field(default_factory=list)
    provisioned: bool = False
    plugin: bool = False

    @property
    def version(self) -> int:
        return len(self.versions)


class Refused(Exception):
    """An answer that is no 200."""

    def __init__(self, status: int, message: str, reason: str = "", headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.headers = status, headers or {}
        self.body = {"message": message} | ({"status": reason} if reason else {})
