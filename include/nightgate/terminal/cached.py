"""What `nightgate cache list` prints."""

from __future__ import annotations

import json
from collections.abc import Iterator

from nightgate.artifacts import Cache
from nightgate.artifacts.events import REASONS, RESULTS
from nightgate.publish.figures import human


def as_json(cache: Cache) -> str:
    """The same in base units: ``artefacts``, least recently used first, ``limit`` and ``counted``."""
    artefacts = [
        {
            "kind": one.kind,
            "digest": one.digest,
            "bytes": one.size,
            "built_in": one.build_seconds,
            "in_use": list(cache.holders(one)),
        }
        for one in cache.entries()
    ]
    found = {"artefacts": artefacts, "limit": cache.settings.limit, "counted": dict(cache.events.totals())}
    return json.dumps(found, indent=1)


def lines(cache: Cache) -> Iterator[str]:
    """A line per artefact, least recently used first, then the totals and what was counted."""
    size = count = 0
    for artifact in cache.entries():
        size, count = size + artifact.size, count + 1
        in_use = ", ".join(cache.holders(artifact))
        yield (
            f"{artifact.kind}/{artifact.digest}  {human(artifact.size, 'bytes')}  "
            f"built in {human(artifact.build_seconds, 'seconds')}" + (f"  in use: {in_use}" if in_use else "")
        )
    limit = cache.settings.limit
    yield (
        f"{count} artefacts, {human(size, 'bytes')} of "
        f"{'no limit' if limit is None else human(limit, 'bytes')}, {cache.waiters()} waiting for room"
    )
    totals = cache.events.totals()
    requests = ", ".join(f"{totals.get(f'requests.{name}', 0):.0f} {name}" for name in RESULTS)
    evictions = ", ".join(f"{totals.get(f'evictions.{name}', 0):.0f} {name}" for name in REASONS)
    yield f"requests: {requests}; evictions: {evictions}"
    yield (
        f"builds saved: {human(totals.get('build_seconds_saved', 0.0), 'seconds')}; "
        f"waited for room: {human(totals.get('wait_seconds.room', 0.0), 'seconds')}"
    )
