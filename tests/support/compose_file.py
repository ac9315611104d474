"""What a Compose file says, with its variables put in: as much of the specification as this project's files use."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

_VARIABLE = re.compile(r"\$(?:(\$)|\{(\w+)(?:(:-|:\?)([^}]*))?\})")


@dataclass(frozen=True)
class Service:
    """One service: ``command`` and ``health`` in words, ``ports`` as published address, published port, own port, ``mounts``
    as source and place, ``after`` as service and condition. ``restarts``: whether it is started again when it has ended."""

    name: str
    image: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    ports: tuple[tuple[str, int, int], ...]
    health: tuple[str, ...]
    mounts: tuple[tuple[str, str], ...]
    secrets: tuple[str, ...]
    after: Mapping[str, str]
    profiles: frozenset[str]
    restarts: bool


def read(file: Path, variables: Mapping[str, str]) -> dict[str, Service]:
    """The services of ``file`` by name."""
    document = _filled(yaml.safe_load(file.read_text()), variables)
    return {name: _service(name, entry) for name, entry in document["services"].items()}


def secret_variables(file: Path) -> dict[str, str]:
    """The variable behind each secret."""
    return {name: entry["environment"] for name, entry in yaml.safe_load(file.read_text())["secrets"].items()}


def _service(name: str, entry: Mapping[str, Any]) -> Service:
    command = entry.get("command", ())
    kind, *words = entry.get("healthcheck", {}).get("test", ["NONE"])
    assert kind in ("CMD", "CMD-SHELL", "NONE"), kind
    return Service(
        name=name, image=entry["image"],
        command=tuple(shlex.split(command) if isinstance(command, str) else command),
        environment={key: str(value) for key, value in entry.get("environment", {}).items()},
        ports=tuple(_port(port) for port in entry.get("ports", ())),
        health=("sh", "-c", *words) if kind == "CMD-SHELL" else tuple(words),
        mounts=tuple(tuple(mount.split(":")[:2]) for mount in entry.get("volumes", ())),
        secrets=tuple(entry.get("secrets", ())),
        after={name: needs["condition"] for name, needs in entry.get("depends_on", {}).items()},
        profiles=frozenset(entry.get("profiles", ())),
        restarts=entry.get("restart", "no") == "unless-stopped",
    )  # fmt: skip


def _port(text: str) -> tuple[str, int, int]:
    address, published, own = text.split(":")
    return address, int(published), int(own)


def _filled(value: Any, variables: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _filled(one, variables) for key, one in value.items()}
    if isinstance(value, list):
        return [_filled(one, variables) for one in value]
    return _VARIABLE.sub(lambda found: _value(found, variables), value) if isinstance(value, str) else value


def _value(found: re.Match[str], variables: Mapping[str, str]) -> str:
    dollar, name, how, rest = found.groups()
    if dollar:
        return "$"
    given = variables.get(name, "")
    if given or how is None:
        return given
    assert how == ":-", f"{name}: {rest}"
    return rest
