"""A content-addressed cache of folders: the key is a hash of what went in.

A request looks here, then into the shared store, then builds; each way ends in a folder that is whole, checked and
leased to this process. What is damaged is found when a process first uses it (every byte is hashed then; sizes and the
manifest's own checksum each time) and built again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from nightgate.artifacts import flight, leases, redis_flight, store, sweep
from nightgate.artifacts import limit as limits
from nightgate.artifacts.artifact import Artifact, from_manifest
from nightgate.artifacts.events import Events
from nightgate.artifacts.making import Build, Making
from nightgate.artifacts.remote import Remote
from nightgate.artifacts.settings import Settings, from_environment
from nightgate.artifacts.shelf import Shelf
from nightgate.errors import ArtifactError

__all__ = ["Artifact", "Cache"]


class Cache:
    """All artefacts under one root.

    Args:
        root: the working cache of this host: a local folder, or one on a volume where flock works between hosts.
        settings: limits and servers; None: what the environment says (see `settings.from_environment`).
        redis: a client to use in place of one for ``settings.redis_url``.

    Raises:
        InputError: the environment holds a value that cannot be read.
    """

    def __init__(self, root: Path, settings: Settings | None = None, *, redis: Any = None) -> None:
        self.root = root
        self.settings = settings or from_environment()
        self.events = Events(root)
        self._shelf = Shelf(root, self.settings)
        self._given_redis = redis

    def get(self, kind: str, key: Mapping[str, Any], build: Build, *, needs: int = 0) -> Artifact:
        """The artefact of ``key``, built by ``build(folder)`` when it is not there; leased to this process.

        Args:
            kind: the family, which is also the folder name ("ground-truth"); without dots.
            key: JSON-able; everything that decides the content, a format version included.
            build: writes files into the folder it is given and may return JSON-able facts.
            needs: bytes the build writes, checked against the free disk and the byte limit before it starts.

        Raises:
            InputError: the disk has no room for it. CacheFull: it is larger than the byte limit, or all of the cache is
            in use and nobody let go in time. ArtifactError: the builder wrote nothing, or the disk ran full. LockLost:
            another host may have taken over. ServiceUnavailable: Redis does not answer. NotMeasured: another builder of
            the same key hangs.
        """
        if "." in kind:  # dots mark what is not finished
            raise ValueError(f"the kind {kind!r} holds a dot")
        folder = self.root / kind / store.digest_of(key)
        lock = folder.with_name(f"{folder.name}.lock")
        found, waited = self._shelf.find(folder), None
        if found is None:
            with flight.turn(lock, partial(self._shelf.find, folder)) as (found, waited):
                if found is None:
                    making = Making(self._shelf, self.events, self._remote, self._redis, folder, waited)
                    return making.make(key, build, needs)
        self.events.request("hit", saved=found.build_seconds, waited=waited)
        return found

    def entries(self) -> list[Artifact]:
        """Every finished artefact, least recently used first; not leased."""
        found = ((entry.folder, store.read(entry.folder)) for entry in limits.entries(self.root))
        return [from_manifest(folder, manifest) for folder, manifest in found if manifest]

    def damaged(self) -> list[Path]:
        """Folders whose files differ from their recorded checksums, or that cannot be read at all. Reads every byte."""
        return [
            folder for folder in store.walk(self.root)
            if not ((manifest := store.read(folder)) and store.matches(folder, manifest))
        ]  # fmt: skip

    def collect(self, limit: int) -> list[Artifact]:
        """Remove the least recently used artefacts until the rest fits into ``limit`` bytes; returns what went.

        What is in use stays.
        """
        entries, removed = self.entries(), []
        total = sum(entry.size for entry in entries)
        for entry in entries:
            if total <= limit:
                break
            if limits.evict(self.root, entry.path, "gc", self.settings):
                total -= entry.size
                removed.append(entry)
        return removed

    def sweep(self) -> list[Path]:
        """Remove what killed processes left: drafts, lock files, ended reservations; returns what went."""
        return sweep.sweep(self.root, self.settings)

    def holders(self, artifact: Artifact) -> list[str]:
        """Who keeps an artefact from being evicted, in words; empty when nobody does."""
        return leases.holders(self.root, artifact.path, self.settings.clock())

    def check_servers(self) -> None:
        """Look whether the shared store and Redis answer, where the settings name them.

        Raises:
            InputError: an address is wrong. ServiceUnavailable: one does not answer.
        """
        if self._remote:
            self._remote.check()
        if self._redis is not None:
            with redis_flight.answering(self._redis):
                self._redis.ping()

    def waiters(self) -> int:
        """How many builders wait for room right now."""
        return sum(claim["waits"] for _, claim in limits.claims(self.root))

    def reserve(self, prepared: Any, owner: str) -> None:
        """Keep the artefacts whose paths are inside ``prepared`` for ``owner``, which may be a later process.

        It lasts until `using` was left without an error, or for `leases.RESERVED_SECONDS`.
        """
        for folder in leases.folders_in(self.root, prepared):
            leases.reserve(self.root, folder, owner, self.settings.clock())

    @contextmanager
    def using(self, prepared: Any, owner: str) -> Iterator[None]:
        """Lease the artefacts whose paths are inside ``prepared`` while the block runs.

        Raises:
            ArtifactError: one is gone.
        """
        folders, taken = sorted(leases.folders_in(self.root, prepared)), []
        try:
            for folder in folders:
                lease = leases.take(folder)
                taken += [lease] if lease else []
                if lease is None or store.read(folder) is None:
                    raise ArtifactError(
                        f"{folder.parent.name}/{folder.name} is gone from the cache or torn", "prepare again"
                    )
            yield
            for folder in folders:
                leases.unreserve(self.root, folder, owner)
        finally:
            for lease in taken:
                lease.release()

    @cached_property
    def _remote(self) -> Remote | None:
        return Remote(self.settings.url) if self.settings.url else None

    @cached_property
    def _redis(self) -> Any:
        if self._given_redis is None and self.settings.redis_url:
            return redis_flight.connect(self.settings.redis_url)
        return self._given_redis
