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
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from nightgate.artifacts import flight, leases, limit, redis_flight, settings, store, sweep
from nightgate.artifacts.artifact import Artifact, from_manifest
from nightgate.artifacts.events import Events, touch
from nightgate.artifacts.remote import Remote
from nightgate.errors import ArtifactError, InputError

log = logging.getLogger(__name__)

_verdicts: dict[tuple[Path, str], bool] = {}
"""What this process found when it hashed an artefact, by folder and the id in its manifest."""

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

    def __init__(self, root: Path, settings_: settings.Settings | None = None, *, redis: Any = None) -> None:
        self.root = root
        self.settings = settings_ or settings.from_environment()
        self.events = Events(root)
        self._given_redis = redis

    def get(self, kind: str, key: Mapping[str, Any], build: Build, *, needs: int = 0) -> Artifact:
        """The artefact of ``key``, built by ``build(folder)`` when it is not there; leased to this process.

        Args:
            kind: the family, which is also the folder name ("ground-truth").
            key: JSON-able; everything that decides the content, a format version included.
            build: writes files into the folder it is given and may return JSON-able facts.
            needs: bytes the build writes, checked against the free disk and the byte limit before it starts.

        Raises:
            InputError: no disk has room for it, or it is larger than the byte limit. CacheFull: all of the cache is in
            use and nobody let go in time. ArtifactError: the builder wrote nothing. LockLost: another host may have
            taken over. ServiceUnavailable: Redis does not answer.
        """
        folder = self.root / kind / store.digest_of(key)
        if found := self._ready(folder):
            return self._hit(found)
        lock = folder.with_name(f"{folder.name}.lock")
        with _disk_errors(folder), flight.turn(lock, lambda: self._ready(folder), self._waited) as found:
            if found:
                return self._hit(found)
            if damaged := folder.exists() and not self._whole(folder):
                store.discard(folder)
                log.warning("%s is torn or damaged and will be built again", _name(folder))
                self.events.eviction("damaged")
            if fetched := self._fetch(folder):
                return fetched
            with self._turn_among_hosts(folder) as held:
                if held and (fetched := self._ready(folder) or self._fetch(folder)):
                    return fetched
                return self._build(folder, dict(key), build, needs, held, "rebuilt" if damaged else "miss")

    def entries(self) -> list[Artifact]:
        """Every finished artefact, least recently used first; not leased."""
        found = ((entry.folder, store.read(entry.folder)) for entry in limit.entries(self.root))
        return [from_manifest(folder, manifest) for folder, manifest in found if manifest]

    def damaged(self) -> list[Path]:
        """Folders whose files differ from their recorded checksums, or that cannot be read at all. Reads every byte."""
        return [
            folder for folder in store.walk(self.root)
            if not ((manifest := store.read(folder)) and store.matches(folder, manifest))
        ]  # fmt: skip

    def collect(self, limit_: int) -> list[Artifact]:
        """Remove the least recently used artefacts until the rest fits into ``limit_`` bytes; returns what went.

        What is in use stays.
        """
        entries, removed = self.entries(), []
        total = sum(entry.size for entry in entries)
        for entry in entries:
            if total <= limit_:
                break
            if limit.evict(self.root, entry.path, "gc", self.settings):
                total -= entry.size
                removed.append(entry)
        return removed

    def sweep(self) -> list[Path]:
        """Remove what killed processes left: drafts, lock files, ended reservations; returns what went."""
        return sweep.sweep(self.root, self.settings)

    def holders(self, artifact: Artifact) -> list[str]:
        """Who keeps an artefact from being evicted, in words; empty when nobody does."""
        return leases.holders(self.root, artifact.path, self.settings.clock())

    def waiters(self) -> int:
        """How many builders wait for room right now."""
        return sum(claim["waits"] for _, claim in limit.claims(self.root))

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
                    raise ArtifactError(f"{_name(folder)} is gone from the cache or torn", "prepare again")
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

    def _ready(self, folder: Path) -> Artifact | None:
        """The artefact when it is here and whole, with a lease."""
        if (lease := leases.take(folder)) is None:
            return None
        manifest = store.read(folder)
        if manifest:
            known = (folder, manifest["id"])
            if known not in _verdicts:
                _verdicts[known] = store.matches(folder, manifest)
            if _verdicts[known]:
                touch(self.root, folder / store.MANIFEST, self.settings.clock())
                return from_manifest(folder, manifest, lease)
        lease.release()
        return None

    def _whole(self, folder: Path) -> bool:
        manifest = store.read(folder)
        return bool(manifest) and _verdicts.get((folder, manifest["id"]), True)

    def _hit(self, found: Artifact) -> Artifact:
        self.events.request("hit", saved=found.build_seconds)
        return found

    def _waited(self, seconds: float) -> None:
        self.events.wait("flight", seconds)

    @contextmanager
    def _turn_among_hosts(self, folder: Path) -> Iterator[redis_flight.Held | None]:
        if self._redis is None:
            yield None
            return
        with redis_flight.turn(self._redis, _name(folder), self._waited) as held:
            yield held

    def _fetch(self, folder: Path) -> Artifact | None:
        """From the shared store, when it has the artefact. A store that fails costs a build, not the night."""
        if self._remote is None:
            return None
        draft = None
        try:
            manifest = self._remote.manifest(_name(folder))
            if manifest is None:
                return None
            with limit.room(self.root, _name(folder), self.settings) as room:
                room.need(store.size_of(manifest))
                draft = store.new_draft(folder)
                if not self._remote.fetch(_name(folder), manifest, draft):
                    log.warning("%s in the shared store is damaged and will be built again", _name(folder))
                    self.events.eviction("damaged")
                    return None
                store.write_manifest(draft, manifest)
                found = self._publish(draft, folder, manifest)
        except OSError as error:
            if error.errno in _DISK_FULL:
                raise
            log.warning("the shared store could not be read (%s)", error)
            return None
        finally:
            if draft:
                shutil.rmtree(draft, ignore_errors=True)
        self.events.request("fetched", saved=found.build_seconds)
        return found

    def _build(
        self, folder: Path, key: dict[str, Any], build: Build, needs: int, held: redis_flight.Held | None, result: str
    ) -> Artifact:
        name = _name(folder)
        with limit.room(self.root, name, self.settings) as room:
            room.need(needs)
            self._check_disk(folder.parent.name, needs)
            draft = store.new_draft(folder)
            log.info("building %s", name)
            start, uploaded = time.monotonic(), None
            try:
                facts = dict(build(draft) or {})
                seconds = time.monotonic() - start
                manifest = store.seal(draft, folder.parent.name, key, facts, seconds, held.fence if held else 0)
                room.need(store.size_of(manifest))
                uploaded = self._share(lambda remote: remote.upload(name, manifest, draft))
                if held:
                    held.commit()
                if uploaded:
                    uploaded = not self._share(lambda remote: remote.point(name, manifest))
                made = self._publish(draft, folder, manifest)
            except BaseException:
                shutil.rmtree(draft, ignore_errors=True)
                if uploaded:
                    self._share(lambda remote: remote.drop(name, manifest))
                raise
        log.info("built %s in %.1f s", name, seconds)
        self.events.request(result)
        return made

    def _publish(self, draft: Path, folder: Path, manifest: dict[str, Any]) -> Artifact:
        """Lease the draft, then give it its name: between the two nobody can evict it."""
        lease = leases.take(draft, folder)
        assert lease is not None, "a draft has one owner"
        touch(self.root, draft / store.MANIFEST, self.settings.clock())
        store.publish(draft, folder)
        _verdicts[(folder, manifest["id"])] = True  # hashed a moment ago
        return from_manifest(folder, manifest, lease, hit=False)

    def _share(self, action: Callable[[Remote], None]) -> bool:
        """Do something in the shared store. False when there is none, or when it fails: the artefact is good here."""
        if self._remote is None:
            return False
        try:
            action(self._remote)
        except OSError as error:
            log.warning("the shared store could not be written (%s)", error)
            return False
        return True

    def _check_disk(self, kind: str, needs: int) -> None:
        free = shutil.disk_usage(self.root).free
        if free < needs:
            raise InputError(
                f"no disk space for {kind}: it needs {needs / 1e9:.1f} GB and {self.root} has {free / 1e9:.1f} GB free",
                _MAKE_ROOM,
            )


@contextmanager
def _disk_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _DISK_FULL:
            raise
        raise InputError(
            f"the disk of {folder.parent} was full before {_name(folder)} was written", _MAKE_ROOM
        ) from error


def _name(folder: Path) -> str:
    return f"{folder.parent.name}/{folder.name}"
