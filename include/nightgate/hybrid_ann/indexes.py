"""Build the indexes of a data set, each in a child process of its own, and keep them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from nightgate.artifacts import Artifact, Cache
from nightgate.measure import host
from nightgate.measure.child import run_child
from nightgate.record import utc_now
from nightgate.vector_search.session import Facts
from nightgate.vector_search.strategy import Index
from nightgate.vectors.dataset import open_dataset
from nightgate.vectors.prepared import PreparedData
from nightgate.versions import installed

FORMAT = 5  # part of the cache key of every index


class BuiltIndex(BaseModel):
    """An index in the cache: ``bytes`` on disk, what its build took when it was made, with the host to itself, and what its
    builder tells of it. ``built_at`` says when that was, ISO 8601, and ``reused`` whether before this run."""

    model_config = ConfigDict(frozen=True)

    folder: Path
    bytes: int
    build_seconds: float
    build_peak_rss_bytes: int
    built_at: str
    reused: bool
    facts: Facts = {}

    def told(self) -> Facts:
        """As it stands in a record."""
        return {**self.model_dump(mode="json", exclude={"folder", "facts"}), **self.facts}


@dataclass(frozen=True)
class BuildRequest:
    """Make ``index`` of the data set in ``vectors``, into ``folder``; from what was ``trained``, if it is in two steps."""

    index: Index
    vectors: Path
    folder: Path
    parameters: Mapping[str, int]
    trained: Path | None = None


def build_index(index: Index, prepared: PreparedData, parameters: Mapping[str, int], cache: Cache) -> BuiltIndex:
    """``index`` of a data set, from the cache or built.

    An index with a ``train`` is built in two steps and each is kept, so that a build that was killed in the second
    resumes there; seconds and memory are those of both.

    Args:
        parameters: ``threads`` and whatever of `strategy.PARAMETERS` there is; the index takes its own.
    """
    threads = parameters["threads"]
    own = {name: parameters[name] for name in index.parameters}
    key = {
        "index": index.name,
        "vectors": prepared.data.digest,
        "threads": threads,
        "parameters": own,
        "versions": installed(*index.requires, "numpy"),
        "format": FORMAT,
    }
    request = BuildRequest(index, prepared.vectors, Path(), own | {"threads": threads})
    if index.train is None:
        return _made(cache, index.name, key, request)[1]
    trained, first = _made(cache, f"{index.name}-trained", key, request, training=True)
    request = BuildRequest(index, prepared.vectors, Path(), {"threads": threads}, trained.path)
    _, made = _made(cache, index.name, key | {"trained": trained.digest}, request)
    return _both(first, made)


def build_anew(
    index: Index, prepared: PreparedData, parameters: Mapping[str, int], folder: Path, seed: int
) -> BuiltIndex:
    """``index`` of a data set, built in ``folder`` whatever the cache holds, and with another ``seed`` than that where it takes
    one. See `build_index`."""
    threads = {"threads": parameters["threads"]}
    own = {name: parameters[name] for name in index.parameters} | ({"seed": seed} if index.seeded else {})
    request = BuildRequest(index, prepared.vectors, folder / index.name, threads | own)
    if index.train is None:
        return _anew(request)
    first = _anew(replace(request, folder=folder / f"{index.name}-trained"), training=True)
    return _both(first, _anew(replace(request, parameters=threads, trained=first.folder)))


def train(request: BuildRequest) -> Facts:
    """The child's side of the first step."""
    data = open_dataset(request.vectors)
    assert request.index.train
    return request.index.train(request.folder, data.base, data.metric, **request.parameters)


def build(request: BuildRequest) -> Facts:
    """The child's side of the second step, or the only one."""
    data = open_dataset(request.vectors)
    trained = {"trained": request.trained} if request.trained else {}
    return request.index.build(request.folder, data.base, data.metric, **request.parameters, **trained)


def _both(first: BuiltIndex, second: BuiltIndex) -> BuiltIndex:
    """What two steps made, as if it were one: the second's, at the cost of both."""
    return second.model_copy(
        update={
            "facts": first.facts | second.facts,
            "build_seconds": first.build_seconds + second.build_seconds,
            "build_peak_rss_bytes": max(first.build_peak_rss_bytes, second.build_peak_rss_bytes),
            "built_at": min(first.built_at, second.built_at),
            "reused": first.reused or second.reused,
        }
    )


def _anew(request: BuildRequest, *, training: bool = False) -> BuiltIndex:
    request.folder.mkdir(parents=True)
    told = _built(request, training=training)
    size = sum(file.stat().st_size for file in request.folder.rglob("*") if file.is_file())
    return BuiltIndex(folder=request.folder, bytes=size, built_at=utc_now(), reused=False, **told)


def _built(request: BuildRequest, *, training: bool) -> dict[str, Any]:
    """Make one step in a child; what a `BuiltIndex` tells of it."""
    with host.alone():  # or its seconds would be those of a host that did something else besides
        child = run_child(train if training else build, request, threads=request.parameters["threads"])
    return {
        "facts": child.value,
        "build_seconds": child.wall_seconds,
        "build_peak_rss_bytes": child.peak_rss_bytes,
    }


def _made(
    cache: Cache, kind: str, key: dict[str, Any], request: BuildRequest, *, training: bool = False
) -> tuple[Artifact, BuiltIndex]:
    def make(folder: Path) -> dict[str, Any]:
        return _built(replace(request, folder=folder), training=training)

    made = cache.get(kind, key, make)
    return made, BuiltIndex(folder=made.path, bytes=made.size, built_at=made.built_at, reused=made.hit, **made.facts)
