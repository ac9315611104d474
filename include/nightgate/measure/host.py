"""Which machine this is, and how quiet it is."""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import TypedDict

from nightgate.errors import DriverError
from nightgate.measure import devices
from nightgate.record import Host

log = logging.getLogger(__name__)

_CANARY_ROUNDS = 20
_alone: ContextVar[bool] = ContextVar("alone", default=False)


class Noise(TypedDict, total=False):
    """How quiet the host was: `canary` and the load average of one minute, before a measurement and after it."""

    canary_before: dict[str, float]
    load_before: float
    canary_after: dict[str, float]
    load_after: float


@cache
def describe() -> Host:
    """This host. The fingerprint hashes CPU model, cores, memory class and the GPU, and no reading that drifts.

    A GPU whose driver does not work is a fault of the host and no error here: the CPU can be measured all the same.
    """
    gpu, fault = None, None
    try:
        gpu = devices.gpu()
    except DriverError as error:
        fault = str(error)
        log.warning("%s", fault)
    cpu, cores, memory = _cpu_model(), os.cpu_count() or 1, _memory_bytes()
    card = f"{gpu.name}, {_memory_class(gpu.memory_bytes)} GiB" if gpu else None
    facts = f"{cpu}|{cores}|{_memory_class(memory)}|{card}|{platform.machine()}"
    return Host(
        fingerprint=hashlib.sha256(facts.encode()).hexdigest()[:12], cpu=cpu, cores=cores, memory_bytes=memory,
        gpu=gpu.name if gpu else None, gpu_facts=gpu, gpu_fault=fault,
    )  # fmt: skip


def usable_cores() -> int:
    """Cores that this process may use, of all that `describe` counts."""
    return len(os.sched_getaffinity(0))


def _memory_class(size: int) -> int:
    """GiB in steps of 4: the exact figure moves with the kernel, and of a GPU with who is asked."""
    return round(size / 2**30 / 4) * 4


def canary() -> dict[str, float]:
    """How fast and how steady the host is right now, by one fixed computation.

    Returns:
        ``seconds`` (the median of 20 rounds) and ``spread`` (the interquartile range over the median). Taken before
        and after a measurement, the two tell a disturbed night from a slow library.
    """
    rounds = []
    for _ in range(_CANARY_ROUNDS):
        start = time.perf_counter()
        total = 0
        for i in range(100_000):
            total += i * i
        rounds.append(time.perf_counter() - start)
    rounds.sort()
    half = _CANARY_ROUNDS // 2
    spread = (rounds[3 * _CANARY_ROUNDS // 4] - rounds[_CANARY_ROUNDS // 4]) / rounds[half]
    return {"seconds": rounds[half], "spread": spread}


@contextmanager
def quiet(lock_folder: Path) -> Iterator[Noise]:
    """Hold the host for one measurement: whoever else measures here waits. Yields the noise readings; those after it come
    at its end."""
    with alone(lock_folder):
        noise: Noise = {"canary_before": canary(), "load_before": os.getloadavg()[0]}
        try:
            yield noise
        finally:
            noise["canary_after"] = canary()
            noise["load_after"] = os.getloadavg()[0]


@contextmanager
def alone(lock_folder: Path) -> Iterator[None]:
    """Hold the host while something is timed, such as a build: whoever else times something here waits.

    The pools keep timed tasks apart inside Airflow; this lock also covers what is started from a terminal. Whoever holds
    it already, in this thread, goes on. Take it before any lock of a server: others hold it while they wait for those.
    """
    if _alone.get():
        yield
        return
    lock_folder.mkdir(parents=True, exist_ok=True)
    with open(lock_folder / "measure.lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("another measurement runs on this host; waiting for it to end")
            fcntl.flock(lock, fcntl.LOCK_EX)
        token = _alone.set(True)
        try:
            yield
        finally:
            _alone.reset(token)


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
