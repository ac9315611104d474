"""Single flight over several hosts: a lock in Redis with a fencing token, renewed while its holder lives.

``nightgate:cache:<name>:lock`` holds the token of the holder and ends by itself when it is not renewed.
``…:fence`` holds the last fencing number: each new holder's is higher, also after Redis lost its memory, since it is
at least Redis's time in microseconds. ``…:published`` holds the number of the last holder who was let publish.
Each change is made only while the lock still holds our token, checked by WATCH and MULTI in one transaction (Redis 6.0.9
or later aborts it when the lock ran out in between).
See https://redis.io/docs/latest/develop/clients/patterns/distributed-locks/ for the lock and its limits.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from nightgate.artifacts.flight import PATIENCE_SECONDS
from nightgate.errors import InputError, LockLost, NotMeasured, ServiceUnavailable

log = logging.getLogger(__name__)

POLL_SECONDS = 0.05
_FENCE_SECONDS = 7 * 24 * 3600


def connect(url: str) -> Any:
    """A client that gives up after seconds. Raises InputError when the address cannot be read."""
    import redis
    from redis.backoff import ExponentialWithJitterBackoff
    from redis.retry import Retry

    try:
        return redis.Redis.from_url(
            url, socket_timeout=5, socket_connect_timeout=5, retry=Retry(ExponentialWithJitterBackoff(cap=1, base=0.1), 3),
            retry_on_error=[redis.ConnectionError, redis.TimeoutError], decode_responses=True,
        )  # fmt: skip
    except ValueError as error:  # the address holds a password: it is not repeated
        raise InputError("NIGHTGATE_REDIS_URL is no address of Redis", "write redis://host:6379/0") from error


class Held:
    """A lock that is ours until it is lost."""

    def __init__(self, client: Any, name: str, life: float) -> None:
        self.client, self.name, self.life = client, name, life
        self.key = f"nightgate:cache:{name}"
        self.fence = 0
        self.token = ""

    def acquire(self) -> bool:
        """Take the lock with a new fencing number; False when another holds it."""
        from redis import WatchError

        with self.client.pipeline() as pipe:
            try:
                pipe.watch(f"{self.key}:lock", f"{self.key}:fence")
                if pipe.get(f"{self.key}:lock"):
                    return False
                seconds, micros = pipe.time()
                fence = max(seconds * 10**6 + micros, int(pipe.get(f"{self.key}:fence") or 0) + 1)
                token = f"{fence}:{uuid.uuid4().hex}"
                pipe.multi()
                pipe.set(f"{self.key}:lock", token, px=self._milliseconds)
                pipe.set(f"{self.key}:fence", fence, ex=_FENCE_SECONDS)
                pipe.execute()
            except WatchError:
                return False
        self.fence, self.token = fence, token
        return True

    def renew(self) -> bool:
        return self._if_ours(lambda pipe: pipe.pexpire(f"{self.key}:lock", self._milliseconds))

    def commit(self) -> None:
        """The moment that decides: after it we publish, without it we must not.

        Raises:
            LockLost: another may hold the lock by now. ServiceUnavailable: Redis does not say.
        """

        def change(pipe: Any) -> None:
            pipe.set(f"{self.key}:published", self.fence, ex=_FENCE_SECONDS)
            pipe.pexpire(f"{self.key}:lock", self._milliseconds)  # a whole life for the rename that follows

        with answering(self.client):
            if not self._if_ours(change):
                raise LockLost(
                    f"the lock of {self.name} was lost while it was built (Redis restarted, or this process stood still), "
                    "so nothing was published",
                    "start again",
                )

    def release(self) -> None:
        self._if_ours(lambda pipe: pipe.delete(f"{self.key}:lock"))

    @property
    def _milliseconds(self) -> int:
        return int(self.life * 1000)

    def _if_ours(self, change: Callable[[Any], Any]) -> bool:
        from redis import WatchError

        while True:
            with self.client.pipeline() as pipe:
                try:
                    pipe.watch(f"{self.key}:lock")
                    if pipe.get(f"{self.key}:lock") != self.token:
                        return False
                    pipe.multi()
                    change(pipe)
                    pipe.execute()
                    return True
                except WatchError:
                    continue


@contextmanager
def turn(
    client: Any, name: str, waited: Callable[[float], None], *, life: float,
    patience: float = PATIENCE_SECONDS,
) -> Iterator[Held]:  # fmt: skip
    """Hold the lock of ``name`` and keep it alive. A builder calls `Held.commit` before it publishes.

    The lock outlives its holder by ``life`` seconds and is renewed three times as often.

    There is no way round a Redis that is down: two hosts that fell back to their own files would both publish.

    Raises:
        ServiceUnavailable: Redis does not answer. NotMeasured: another holds the lock beyond all patience.
    """
    held, start, blocked = Held(client, name, life), time.monotonic(), False
    with answering(client):
        while not held.acquire():
            blocked = True
            if time.monotonic() - start > patience:
                raise NotMeasured(
                    f"{name} is being built on another host for over {patience:.0f} s",
                    "see what it does, and stop it if it hangs",
                )
            time.sleep(POLL_SECONDS)
    if blocked:
        waited(time.monotonic() - start)
    stop = threading.Event()
    renewal = threading.Thread(target=_keep_alive, args=(held, stop), name="nightgate-cache-lock", daemon=True)
    renewal.start()
    try:
        yield held
    finally:
        stop.set()
        renewal.join()
        from redis import RedisError

        with suppress(RedisError):  # it ends by itself
            held.release()


def _keep_alive(held: Held, stop: threading.Event) -> None:
    """Renew until told to stop. A renewal that fails is tried again; `Held.commit` finds out whether it mattered."""
    from redis import RedisError

    while not stop.wait(held.life / 3):
        try:
            if not held.renew():
                log.warning("the lock of %s was lost; what is being built will not be published", held.name)
                return
        except RedisError as error:
            log.warning("the lock of %s could not be renewed (%s)", held.name, error)


@contextmanager
def answering(client: Any) -> Iterator[None]:
    """Turn a failure of Redis into an error that names it."""
    from redis import RedisError

    try:
        yield
    except RedisError as error:
        settings = client.connection_pool.connection_kwargs
        where = settings.get("path") or f"{settings.get('host', 'localhost')}:{settings.get('port', 6379)}"
        raise ServiceUnavailable(
            f"Redis at {where} did not answer, so no other host can be kept from building the same: {error}",
            "start it, or unset NIGHTGATE_REDIS_URL when this host builds alone",
        ) from error
