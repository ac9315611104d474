"""What builders share: turns, so that of all who want one key one builds and the others wait; and a store of what is done.

Turns save time and nothing depends on them: artefacts are named by what went in and published whole, so of two builds of
one key the first published stays and the other is thrown away. On one host a turn is a file lock of the kernel, which a
dead builder cannot keep. Between hosts it is a lock in Redis, where one is named, renewed while its holder lives; a Redis
that does not answer, or forgets, costs a second build.

The store is a folder or bucket that several hosts reach, through fsspec. ``<url>/<kind>/<hash>/<id>/…`` holds the files,
``<url>/<kind>/<hash>/manifest.json`` names the id and comes last. So a reader sees whole artefacts only, and a writer
never touches what another wrote. The byte limit is that of the local cache: how long the store keeps things is the
business of its own (a bucket's lifecycle rules, a volume's clean-up).
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from filelock import FileLock, Timeout

from nightgate.artifacts import store
from nightgate.artifacts.leases import pids_on
from nightgate.errors import InputError, NotMeasured, ServiceUnavailable

if TYPE_CHECKING:
    from redis import Redis, RedisError
    from redis.lock import Lock

log = logging.getLogger(__name__)

T = TypeVar("T")

PATIENCE_SECONDS = 6 * 3600.0
"""Longer than any build takes. A builder that died is noticed at once; this bounds one that hangs."""
_HOST_POLL, _REDIS_POLL = 0.02, 0.1  # seconds
_ANSWER_SECONDS = 5.0
_TWICE = "another host may build the same meanwhile, which costs time and nothing else"


@contextmanager
def turn_on_host(
    lock: Path, ready: Callable[[], T | None], patience: float = PATIENCE_SECONDS
) -> Iterator[tuple[T | None, float | None]]:
    """What ``ready`` finds while another process has the lock, or None: then it is ours to build.

    Beside it the seconds waited, None when nobody was in the way. Those who wait look for the result themselves, so that
    all of them have it as soon as it is there.

    Raises:
        NotMeasured: the builder neither finished nor died.
    """
    file, start, waited = FileLock(lock), time.monotonic(), None
    found: list[T] = []

    def look() -> bool:
        if not found and (one := ready()) is not None:
            found.append(one)
        return bool(found)

    try:
        try:
            file.acquire(blocking=False)
        except Timeout:
            with suppress(Timeout):  # when patience ends, and when `look` has found it
                file.acquire(timeout=patience, poll_interval=_HOST_POLL, cancel_check=look)
            waited = time.monotonic() - start
        if not look() and not file.is_locked:
            pids = ", ".join(f"pid {pid}" for pid in pids_on(lock)) or "an unknown process"
            raise NotMeasured(
                f"{lock.parent.name}/{lock.stem} is being built by {pids} for over {patience:.0f} s",
                "see what it does, and stop it if it hangs",
            )
        yield (found[0] if found else None), waited
    finally:
        if file.is_locked:
            lock.unlink(missing_ok=True)  # under the lock: who waits for it sees that this file has no name any more
            file.release()


class Turns:
    """Turns between hosts over Redis.

    Args:
        client: of the Redis that all of them reach.
        life: seconds by which a lock outlives its holder. It is renewed three times as often.
    """

    def __init__(self, client: Redis, life: float) -> None:
        self._client, self._life = client, life
        self._silent = False

    @contextmanager
    def turn(self, name: str, patience: float = PATIENCE_SECONDS) -> Iterator[float | None]:
        """Hold the lock of ``name`` while the block runs; yields the seconds waited for another host, None when none was
        in the way. Without an answer, or when ``patience`` is over, the block runs without the lock."""
        from redis import RedisError

        lock = self._client.lock(
            f"nightgate:cache:{name}:lock", timeout=self._life, sleep=_REDIS_POLL, thread_local=False
        )
        ours, waited = False, None
        try:
            if not (ours := lock.acquire(blocking=False)):
                start = time.monotonic()
                ours = lock.acquire(blocking_timeout=patience)
                waited = time.monotonic() - start
                if not ours:
                    log.warning("%s is being built on another host for over %.0f s; it is built here", name, patience)
            self._silent = False
        except RedisError as error:
            self._say(error)
        with self._kept(lock, name) if ours else nullcontext():
            yield waited

    def check(self) -> None:
        """Raises ServiceUnavailable when Redis does not answer."""
        from redis import RedisError

        try:
            self._client.ping()
        except RedisError as error:
            raise ServiceUnavailable(
                f"Redis at {self._where} did not answer: {error}",
                "start it, or unset NIGHTGATE_REDIS_URL when this host builds alone",
            ) from error

    @contextmanager
    def _kept(self, lock: Lock, name: str) -> Iterator[None]:
        from redis import RedisError

        stop = threading.Event()
        renewal = threading.Thread(
            target=self._renew, args=(lock, name, stop), name="nightgate-cache-lock", daemon=True
        )
        renewal.start()
        try:
            yield
        finally:
            stop.set()
            renewal.join()
            with suppress(RedisError):  # it is another's already, or ends by itself
                lock.release()

    def _renew(self, lock: Lock, name: str, stop: threading.Event) -> None:
        from redis import RedisError
        from redis.exceptions import LockNotOwnedError

        while not stop.wait(self._life / 3):
            try:
                lock.extend(self._life, replace_ttl=True)
            except LockNotOwnedError:
                log.warning("the lock of %s was lost (Redis restarted, or this process stood still); %s", name, _TWICE)
                return
            except RedisError as error:  # tried again at the next turn
                self._say(error)

    def _say(self, error: RedisError) -> None:
        """Once until it answers again."""
        level = logging.DEBUG if self._silent else logging.WARNING
        log.log(level, "Redis at %s did not answer (%s); %s", self._where, error, _TWICE)
        self._silent = True

    @property
    def _where(self) -> str:
        settings = self._client.connection_pool.connection_kwargs
        return settings.get("path") or f"{settings.get('host', 'localhost')}:{settings.get('port', 6379)}"


def connect(url: str) -> Redis:
    """A client that gives up after seconds, and does not ask again: a lock that was given and whose answer got lost
    would be waited for. Raises InputError when the address cannot be read."""
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    try:
        return redis.Redis.from_url(
            url, socket_timeout=_ANSWER_SECONDS, socket_connect_timeout=_ANSWER_SECONDS, retry=Retry(NoBackoff(), 0)
        )
    except ValueError as error:  # the address holds a password: it is not repeated
        raise InputError("NIGHTGATE_REDIS_URL is no address of Redis", "write redis://host:6379/0") from error


@contextmanager
def _os_errors() -> Iterator[None]:
    """Drivers raise classes of their own (botocore's are no OSError): one kind of failure leaves this file."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise OSError(f"{type(error).__name__}: {error}") from error


class Remote:
    """Artefacts under one fsspec address.

    Raises:
        InputError: the address cannot be used, or its driver is not installed.
    """

    def __init__(self, url: str) -> None:
        import fsspec

        try:
            self.fs, self.base = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise InputError(
                f"NIGHTGATE_CACHE_URL cannot be used: {error}", "write file:///folder, or install what it names"
            ) from error

    def check(self) -> None:
        """Raises ServiceUnavailable when the store cannot be written."""
        probe = f"{self.base}/{uuid.uuid4().hex}{store.DRAFT}"
        try:
            with _os_errors():
                self.fs.makedirs(self.base, exist_ok=True)
                self.fs.pipe_file(probe, b"")
                self.fs.rm_file(probe)
        except OSError as error:
            raise ServiceUnavailable(
                f"the shared store of NIGHTGATE_CACHE_URL cannot be written: {error}",
                "make it reachable, or unset NIGHTGATE_CACHE_URL",
            ) from error

    @_os_errors()
    def manifest(self, name: str) -> dict[str, Any] | None:
        """The manifest of ``<kind>/<hash>``; None when the store has none. Raises OSError when it cannot be reached."""
        try:
            return store.loads(self.fs.cat_file(f"{self.base}/{name}/{store.MANIFEST}"))
        except FileNotFoundError:
            return None
        except (ValueError, KeyError):
            log.warning("the manifest of %s in the shared store is damaged", name)
            return None

    @_os_errors()
    def fetch(self, name: str, manifest: Mapping[str, Any], draft: Path) -> bool:
        """Copy an artefact into ``draft`` and check every byte. False when it is damaged or on its way out."""
        try:
            for file in manifest["files"]:
                (draft / file).parent.mkdir(parents=True, exist_ok=True)
                self.fs.get_file(f"{self.base}/{name}/{manifest['id']}/{file}", str(draft / file))
        except FileNotFoundError:
            return False
        return store.matches(draft, manifest)

    def publish(self, name: str, manifest: Mapping[str, Any], folder: Path, refused: str | None) -> bool:
        """Copy a finished folder, then make it the one that readers find. False when another was published first.

        Args:
            refused: the id of a damaged copy, which is replaced.

        Raises:
            OSError: the store cannot be written; what was copied is removed.
        """
        if self._taken(name, refused):
            return False
        try:
            with _os_errors():
                for file in manifest["files"]:
                    target = f"{self.base}/{name}/{manifest['id']}/{file}"
                    self.fs.makedirs(target.rpartition("/")[0], exist_ok=True)
                    self.fs.put_file(str(folder / file), target)
                if ours := not self._taken(name, refused):
                    draft = f"{self.base}/{name}/{manifest['id']}/{store.MANIFEST}"
                    self.fs.pipe_file(draft, store.dumps(manifest).encode())
                    self.fs.mv(draft, f"{self.base}/{name}/{store.MANIFEST}")
        except BaseException:
            self._drop(name, manifest["id"])
            raise
        if gone := refused if ours else manifest["id"]:
            self._drop(name, gone)
        return ours

    def _taken(self, name: str, refused: str | None) -> bool:
        manifest = self.manifest(name)
        return manifest is not None and manifest["id"] != refused

    def _drop(self, name: str, copy: str) -> None:
        """Remove the files of a copy by its id, if any are there."""
        try:
            with _os_errors():
                self.fs.rm(f"{self.base}/{name}/{copy}", recursive=True)
        except FileNotFoundError:
            pass
        except OSError as error:
            log.warning("files of %s in the shared store could not be removed (%s)", name, error)
