"""What one cache holds and has counted, in a form that travels: a page for Prometheus shows the caches of every host."""

from __future__ import annotations

import uuid
from pathlib import Path

from pydantic import BaseModel

from nightgate.artifacts import limit
from nightgate.artifacts.cache import Cache
from nightgate.artifacts.settings import state_dir


class Counted(BaseModel):
    """The state of a cache: bytes and number of its artefacts, its limit in bytes, how many builders wait for room, and the
    counters of `artifacts.events`. ``cache`` tells it from others, ``host`` is the machine that saw it last."""

    cache: str
    host: str
    bytes: int
    entries: int
    limit: int | None = None
    waiters: int
    counts: dict[str, float] = {}


def counted(cache: Cache, host: str) -> Counted:
    entries = limit.entries(cache.root)
    return Counted(
        cache=_identity(cache.root),
        host=host,
        bytes=sum(entry.size for entry in entries),
        entries=len(entries),
        limit=cache.settings.limit,
        waiters=cache.waiters(),
        counts=cache.events.totals(),
    )


def _identity(root: Path) -> str:
    """Made on first use and kept: several processes, and containers of one machine, share a cache."""
    file = state_dir(root) / "identity"
    try:
        return file.read_text()
    except FileNotFoundError:
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(file, "x") as new:
                new.write(uuid.uuid4().hex)
        except FileExistsError:
            pass
        return file.read_text()
