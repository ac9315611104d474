"""A content-addressed cache of folders: the key is a hash of what went in.

A request looks here, then into the shared store, then builds; each way ends in a folder that is whole, checked and
leased to this process. What is damaged is found when a process first uses it (every byte is hashed then; sizes and the
manifest's own checksum each time) and built again.
"""

from __future__ import annotations

import errno
import logging
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from nightgate.artifacts import leases, limit, sharing, store
from nightgate.artifacts.events import Events
from nightgate.artifacts.leases import Artifact, from_manifest
from nightgate.artifacts.settings import Settings, from_environment
from nightgate.errors import ArtifactError, CacheFull, InputError

__all__ = ["Artifact", "Cache"]

log = logging.getLogger(__name__)

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_MAKE_ROOM = "free some space (`nightgate cache gc`), move NIGHTGATE_HOME, or lower the scale"

Build = Callable[[Path], Mapping[str, Any] | None]


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
        self._given_redis = redis

    def get(self, kind: str, key: Mapping[str, Any], build: Build, *, needs: int = 0) -> Artifact:
        """The artefact of ``key``, built by ``build(folder)`` when it is not there; leased to this process.

        Args:
            kind: the family, which is also the folder name ("ground-truth"); without dots.
            key: JSON-able; everything that decides the content: digests of what it is made from, parameters, versions of
                the libraries that make it, a format version. No path: the same content elsewhere is the same.
            build: writes files into the folder it is given and may return JSON-able facts.
            needs: bytes the build writes, checked against the free disk and the byte limit before it starts.

        Raises:
            InputError: the disk has no room for it. CacheFull: it is larger than the byte limit, or all of the cache is
            in use and nobody let go in time. ArtifactError: the builder wrote nothing, or the disk ran full.
            NotMeasured: another builder of the same key on this host hangs.
        """
        if "." in kind:  # dots mark what is not finished
            raise ValueError(f"the kind {kind!r} holds a dot")
        folder = self.root / kind / store.digest_of(key)
        look = partial(self.find, folder)
        found, waited = look(), None
        if found is None:
            with sharing.turn_on_host(folder.with_name(f"{folder.name}.lock"), look) as (found, waited):
                if found is None:
                    return _Missing(self, folder, key, build, needs, waited).make()
        self.events.request("hit", saved=found.build_seconds, waited=waited)
        return found

    def find(self, folder: Path) -> Artifact | None:
        """The artefact in ``folder`` when it is here and whole, leased; see `leases.find`."""
        return leases.find(self.root, folder, self.settings.clock())

    def entries(self) -> list[Artifact]:
        """Every finished artefact, least recently used first; not leased."""
        found = ((entry.folder, store.read(entry.folder)) for entry in limit.entries(self.root))
        return [from_manifest(folder, manifest) for folder, manifest in found if manifest]

    def damaged(self) -> list[Path]:
        """Folders whose files differ from their recorded checksums, or that cannot be read at all. Reads every byte."""
        return [
            folder
            for folder in store.walk(self.root)
            if not ((manifest := store.read(folder)) and store.matches(folder, manifest))
        ]

    def collect(self, most: int) -> list[Artifact]:
        """Remove the least recently used artefacts until the rest fits into ``most`` bytes; returns what went.

        What is in use stays.
        """
        entries, removed = self.entries(), []
        total = sum(entry.size for entry in entries)
        for entry in entries:
            if total <= most:
                break
            if limit.evict(self.root, entry.path, "gc", self.settings):
                total -= entry.size
                removed.append(entry)
        return removed

    def sweep(self) -> list[Path]:
        """Remove what killed processes left: drafts, lock files, ended reservations; returns what went."""
        return limit.sweep(self.root, self.settings)

    def holders(self, artifact: Artifact) -> list[str]:
        """Who keeps an artefact from being evicted, in words; empty when nobody does."""
        return leases.holders(self.root, artifact.path, self.settings.clock())

    def check_servers(self) -> None:
        """Look whether the shared store and Redis answer, where the settings name them.

        Raises:
            InputError: an address is wrong. ServiceUnavailable: one does not answer.
        """
        for server in (self.remote, self.turns):
            if server:
                server.check()

    def waiters(self) -> int:
        """How many builders wait for room right now."""
        return sum(claim["waits"] for _, claim in limit.claims(self.root))

    def reserve(self, prepared: Any, owner: str) -> None:
        """Keep the artefacts whose paths are inside ``prepared`` for ``owner``, which may be a later process.

        It lasts until `using` was left without an error, or for `leases.RESERVED_SECONDS`.
        """
        for folder in leases.folders_in(self.root, prepared):
            leases.reserve(self.root, folder, owner, self.settings.clock())

    def holds(self, prepared: Any) -> bool:
        """Whether every artefact whose path is inside ``prepared`` is there, and whole."""
        return all(store.read(folder) is not None for folder in leases.folders_in(self.root, prepared))

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
    def remote(self) -> sharing.Remote | None:
        """The shared store, where there is one."""
        return sharing.Remote(self.settings.url) if self.settings.url else None

    @cached_property
    def turns(self) -> sharing.Turns | None:
        """How hosts take turns, where they do."""
        client = self._given_redis
        if client is None and self.settings.redis_url:
            client = sharing.connect(self.settings.redis_url)
        return None if client is None else sharing.Turns(client, self.settings.lock_life)


class _Missing:
    """One artefact that is not here, and how it comes: from the shared store, or built. Only who holds the lock of the key
    on this host makes it. ``waited``: seconds that another builder here kept us, None when nobody did."""

    def __init__(
        self, cache: Cache, folder: Path, key: Mapping[str, Any], build: Build, needs: int, waited: float | None
    ) -> None:
        self.cache, self.folder, self.key, self.build, self.needs = cache, folder, key, build, needs
        self.name = f"{folder.parent.name}/{folder.name}"
        self.waited = waited
        self.damaged = False
        self.refused: str | None = None

    def make(self) -> Artifact:
        """Fetch or build it; see `Cache.get`."""
        cache = self.cache
        with self._disk_errors():
            store.clear(self.folder)
            if leases.discard_damaged(self.folder):
                self._note_damage("here")
            if fetched := self._fetch():
                return fetched
            if cache.turns is None:
                return self._build()
            with cache.turns.turn(self.name) as waited:
                if waited is not None:
                    cache.events.wait("flight", waited)
                if found := cache.find(self.folder):  # another host built it on this very volume
                    return self._count("hit", found)
                return self._fetch() or self._build()

    def _build(self) -> Artifact:
        with self._room() as room, store.draft_of(self.folder) as draft:
            if self.needs:
                room.need(self.needs)
            self._check_disk()
            log.info("building %s", self.name)
            start = time.monotonic()
            facts = dict(self.build(draft) or {})
            seconds = time.monotonic() - start
            manifest = store.seal(draft, self.folder.parent.name, self.key, facts, seconds)
            room.need(store.size_of(manifest))
            made = self._share(room, manifest, draft) or self._put(draft, manifest)
        log.info("built %s in %.1f s", self.name, seconds)
        return self._count("rebuilt" if self.damaged else "miss", made)

    def _share(self, room: limit.Room, manifest: dict[str, Any], draft: Path) -> Artifact | None:
        """Show other hosts what they can fetch. When one was first, its copy, so that all hosts have the same; ours stays
        good where that cannot be had."""
        if self.cache.remote is None:
            return None
        try:
            if self.cache.remote.publish(self.name, manifest, draft, self.refused):
                return None
            return self._fetch_within(room)
        except (OSError, CacheFull) as error:
            log.warning("%s is not shared with other hosts (%s)", self.name, error)
            return None

    def _fetch(self) -> Artifact | None:
        """From the shared store, when it has the artefact. A store that fails costs a build, not the night."""
        if self.cache.remote is None:
            return None
        try:
            with self._room() as room:
                fetched = self._fetch_within(room)
        except OSError as error:
            if error.errno in _DISK_FULL:
                raise
            log.warning("the shared store could not be read (%s)", error)
            return None
        return self._count("fetched", fetched) if fetched else None

    def _fetch_within(self, room: limit.Room) -> Artifact | None:
        remote = self.cache.remote
        if remote is None or (manifest := remote.manifest(self.name)) is None or manifest["id"] == self.refused:
            return None
        room.need(store.size_of(manifest))
        with store.draft_of(self.folder) as draft:
            if not remote.fetch(self.name, manifest, draft):
                self.refused = manifest["id"]
                self._note_damage("in the shared store")
                return None
            store.write_manifest(draft, manifest)
            return self._put(draft, manifest)

    def _put(self, draft: Path, manifest: dict[str, Any]) -> Artifact:
        return leases.put(self.cache.root, draft, self.folder, manifest, self.cache.settings.clock())

    def _room(self) -> AbstractContextManager[limit.Room]:
        return limit.room(self.cache.root, self.name, self.cache.settings)

    def _count(self, result: str, found: Artifact) -> Artifact:
        saved = found.build_seconds if result in ("hit", "fetched") else 0.0
        self.cache.events.request(result, saved=saved, waited=self.waited)
        return found

    def _note_damage(self, where: str) -> None:
        log.warning("%s is torn or damaged %s and will be built again", self.name, where)
        self.cache.events.eviction("damaged")
        self.damaged = True

    def _check_disk(self) -> None:
        root, free = self.cache.root, shutil.disk_usage(self.cache.root).free
        if free < self.needs:
            raise InputError(
                f"no disk space for {self.folder.parent.name}: it needs {self.needs / 1e9:.1f} GB and {root} has "
                f"{free / 1e9:.1f} GB free",
                _MAKE_ROOM,
            )

    @contextmanager
    def _disk_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno not in _DISK_FULL:
                raise
            raise ArtifactError(
                f"the disk of {self.cache.root} was full before {self.name} was written", _MAKE_ROOM
            ) from error
