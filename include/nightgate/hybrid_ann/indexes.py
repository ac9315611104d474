"""Build the indexes of a data set, each in a child process of its own, and keep them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nightgate.artifacts import Cache
from nightgate.hybrid_ann import strategies
from nightgate.hybrid_ann.settings import Settings
from nightgate.measure.child import run_child

FORMAT = 4  # part of the cache key of every index


def build_index(name: str, settings: Settings, vectors: str, threads: int, cache: Cache) -> dict[str, Any]:
    """The index ``name`` of the data set in the folder ``vectors``, from the cache or built.

    An index whose builder has a ``train`` is built in two steps and each is kept, so that a build that was killed in
    the second resumes there.

    Returns:
        ``folder``; ``bytes`` on disk; ``build_seconds`` and ``build_peak_rss_bytes`` of both steps; ``built_at`` (and
        ``trained_at``), when they were measured, and ``reused``, whether before this call or on another host; what the
        builder tells of it.
    """
    request: dict[str, Any] = {"index": name, "vectors": vectors, "trained": None, "parameters": {"threads": threads}}
    if not hasattr(strategies.builder(name), "train"):
        request["parameters"] |= {"m": settings.hnsw_m, "ef_construction": settings.hnsw_ef_construction}
        return _made(cache, "build", name, request)
    lists = request["parameters"] | {"rows_per_list": settings.rows_per_list}
    trained = _made(cache, "train", f"{name}-trained", request | {"parameters": lists})
    made = _made(cache, "build", name, request | {"trained": trained["folder"]})
    return {
        **trained, **made,
        "build_seconds": trained["build_seconds"] + made["build_seconds"],
        "build_peak_rss_bytes": max(trained["build_peak_rss_bytes"], made["build_peak_rss_bytes"]),
        "trained_at": trained["built_at"], "reused": trained["reused"] or made["reused"],
    }  # fmt: skip


def _made(cache: Cache, function: str, kind: str, request: dict[str, Any]) -> dict[str, Any]:
    reused = True

    def build(folder: Path) -> dict[str, Any]:
        nonlocal reused
        reused = False
        child = run_child(
            f"nightgate.hybrid_ann.timed:{function}", request | {"folder": str(folder)},
            threads=request["parameters"]["threads"],
        )  # fmt: skip
        return child.value | {"build_seconds": child.wall_seconds, "build_peak_rss_bytes": child.peak_rss_bytes}

    made = cache.get(kind, _key(request), build)
    return {"folder": str(made.path), "bytes": made.size, **made.facts, "built_at": made.built_at, "reused": reused}


def _key(request: dict[str, Any]) -> dict[str, Any]:
    """What shapes the bytes. Folders of the cache bear the digest of what is in them, wherever the cache lies."""
    digests = {name: path and Path(path).name for name in ("vectors", "trained") for path in (request[name],)}
    return request | digests | {"versions": strategies.libraries(request["index"]), "format": FORMAT}
