"""How an artefact that is not here comes here: fetched from the shared store, or built.

Both write a draft and give it its name when it is complete. Only who holds the lock of the key does this.
"""

from __future__ import annotations

import errno
import logging
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from nightgate.artifacts import limit, redis_flight, store
from nightgate.artifacts.artifact import Artifact
from nightgate.artifacts.events import Events
from nightgate.artifacts.remote import Remote
from nightgate.artifacts.shelf import Shelf
from nightgate.errors import ArtifactError, InputError

log = logging.getLogger(__name__)

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_MAKE_ROOM = "free some space (`nightgate cache gc`), move NIGHTGATE_HOME, or lower the scale"

Build = Callable[[Path], Mapping[str, Any] | None]


class Making:
    """One missing artefact. ``remote`` and ``redis`` are None where this host shares neither store nor lock; ``waited``
    are the seconds that another builder on this host kept us, None when nobody did."""

    def __init__(
        self, shelf: Shelf, events: Events, remote: Remote | None, redis: Any, folder: Path, waited: float | None
    ) -> None:
        self.shelf, self.events, self.remote, self.redis, self.folder = shelf, events, remote, redis, folder
        self.root, self.settings = shelf.root, shelf.settings
        self.name = f"{folder.parent.name}/{folder.name}"
        self.waited = waited
        self.damaged = False

    def make(self, key: Mapping[str, Any], build: Build, needs: int) -> Artifact:
        """Fetch or build it; see `Cache.get`."""
        with self._disk_errors():
            if self.shelf.discard_damaged(self.folder):
                self._note_damage("here")
            if fetched := self._fetch():
                return fetched
            if self.redis is None:
                return self._build(key, build, needs, None)
            waited, life = partial(self.events.wait, "flight"), self.settings.lock_life
            with redis_flight.turn(self.redis, self.name, waited, life=life) as held:
                if found := self.shelf.find(self.folder):  # another host built it on this very volume
                    self.events.request("hit", saved=found.build_seconds, waited=self.waited)
                    return found
                return self._fetch() or self._build(key, build, needs, held)

    def _build(self, key: Mapping[str, Any], build: Build, needs: int, held: redis_flight.Held | None) -> Artifact:
        with limit.room(self.root, self.name, self.settings) as room, self._draft() as draft:
            if needs:
                room.need(needs)
            self._check_disk(needs)
            log.info("building %s", self.name)
            start = time.monotonic()
            facts = dict(build(draft) or {})
            seconds = time.monotonic() - start
            manifest = store.seal(draft, self.folder.parent.name, key, facts, seconds, held.fence if held else 0)
            room.need(store.size_of(manifest))
            self._share(manifest, draft, held)
            made = self.shelf.put(draft, self.folder, manifest)
        log.info("built %s in %.1f s", self.name, seconds)
        self.events.request("rebuilt" if self.damaged else "miss", waited=self.waited)
        return made

    def _fetch(self) -> Artifact | None:
        """From the shared store, when it has the artefact. A store that fails costs a build, not the night."""
        if self.remote is None:
            return None
        try:
            manifest = self.remote.manifest(self.name)
            if manifest is None:
                return None
            with limit.room(self.root, self.name, self.settings) as room, self._draft() as draft:
                room.need(store.size_of(manifest))
                if not self.remote.fetch(self.name, manifest, draft):
                    self._note_damage("in the shared store")
                    return None
                store.write_manifest(draft, manifest)
                found = self.shelf.put(draft, self.folder, manifest)
        except OSError as error:
            if error.errno in _DISK_FULL:
                raise
            log.warning("the shared store could not be read (%s)", error)
            return None
        self.events.request("fetched", saved=found.build_seconds, waited=self.waited)
        return found

    def _share(self, manifest: dict[str, Any], draft: Path, held: redis_flight.Held | None) -> None:
        """Let Redis decide whether we may publish; if so, show other hosts what they can fetch.

        The long copy comes before the decision, one short write after it.
        """
        uploaded = pointed = False
        try:
            uploaded = self._write(lambda remote: remote.upload(self.name, manifest, draft))
            if held:
                held.commit()
            pointed = uploaded and self._write(lambda remote: remote.point(self.name, manifest))
        finally:
            if uploaded and not pointed:
                self._write(lambda remote: remote.drop(self.name, manifest))

    def _write(self, action: Callable[[Remote], None]) -> bool:
        """Do something in the shared store. False when there is none or it fails: the artefact is good here."""
        if self.remote is None:
            return False
        try:
            action(self.remote)
        except OSError as error:
            log.warning("the shared store could not be written (%s)", error)
            return False
        return True

    @contextmanager
    def _draft(self) -> Iterator[Path]:
        draft = store.new_draft(self.folder)
        try:
            yield draft
        finally:
            shutil.rmtree(draft, ignore_errors=True)  # it is gone already when it got its name

    def _note_damage(self, where: str) -> None:
        log.warning("%s is torn or damaged %s and will be built again", self.name, where)
        self.events.eviction("damaged")
        self.damaged = True

    def _check_disk(self, needs: int) -> None:
        free = shutil.disk_usage(self.root).free
        if free < needs:
            raise InputError(
                f"no disk space for {self.folder.parent.name}: it needs {needs / 1e9:.1f} GB and {self.root} has "
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
                f"the disk of {self.root} was full before {self.name} was written", _MAKE_ROOM
            ) from error
