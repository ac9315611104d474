"""Which machine this is, and how quiet it is."""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from nightgate.errors import DriverError
from nightgate.facts import Noise
from nightgate.measure import devices, known_host, trust
from nightgate.measure.glancing import glance, looking
from nightgate.measure.machine import alone
from nightgate.measure.watch import Watch, judged
from nightgate.record import Host

log = logging.getLogger(__name__)

__all__ = [
    "PATIENCE",
    "SAMPLE",
    "SHARED",
    "alone",
    "describe",
    "glance",
    "known",
    "look",
    "quiet",
    "told",
    "usable_cores",
    "wait_until_quiet",
]

SAMPLE = 1.0
"""Seconds that the canary takes before a measurement, and after it."""

PATIENCE = 30.0
"""Seconds that a measurement waits at most for a quiet moment to begin."""

SHARED = "NIGHTGATE_SHARED_HOST"
"""The variable that says that others may use this host while it measures: what they do is told, and not held against it."""

_QUIET_SAMPLES = 3
_SAID_AGAIN = 30.0


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
        fingerprint=hashlib.sha256(facts.encode()).hexdigest()[:12],
        cpu=cpu,
        cores=cores,
        memory_bytes=memory,
        gpu=gpu.name if gpu else None,
        gpu_facts=gpu,
        gpu_fault=fault,
    )


def usable_cores() -> int:
    """Cores that this process may use, of all that `describe` counts."""
    return len(os.sched_getaffinity(0))


def _memory_class(size: int) -> int:
    """GiB in steps of 4: the exact figure moves with the kernel, and of a GPU with who is asked."""
    return round(size / 2**30 / 4) * 4


@contextmanager
def quiet(home: Path, servers: Sequence[str] = ()) -> Iterator[Noise]:
    """Hold the host for one measurement, and watch it: whoever else measures here waits. It begins in a quiet moment, if one
    comes within half a minute.

    Call it in the process that starts what is timed. `run_child` and `run_in_turns` glance at the host before they let a
    child work; whoever times otherwise calls `glance` there whenever all that is timed rests.

    Args:
        home: NIGHTGATE_HOME, with what is known of the host.
        servers: which programs beside our own processes work for the measurement, by the name of their processes; "" where
            that is not known.

    Yields:
        what is seen. It is written when the block ends: whether it was disturbed, and by what.
    """
    with alone():
        watch, noise = Watch(servers), Noise(load_before=os.getloadavg()[0])
        watch.settle(SAMPLE, 0.0 if _shared() else PATIENCE, known(home))
        try:
            with looking(watch.glance):
                yield noise
        finally:
            watch.sample(SAMPLE)
            noise.load_after = os.getloadavg()[0]
            judged(noise, watch, _known_file(home), tolerant=_shared())
            if said := noise.disturbed or noise.tolerated:
                log.warning("the host was not quiet: %s", said)


def look(home: Path, seconds: float = SAMPLE) -> Noise:
    """How the host is right now, by one sample. What is known of it below ``home`` is compared with and not added to."""
    watch, noise = Watch(), Noise(load_before=os.getloadavg()[0])
    watch.sample(seconds)
    before = known(home)
    watch.describe(noise, before)
    noise.disturbed = trust.disturbed(noise, before)
    return noise


def known(home: Path) -> list[known_host.Known]:
    """What earlier measurements tell of this host, oldest first."""
    return known_host.read(_known_file(home))


def wait_until_quiet(home: Path, seconds: float) -> bool:
    """Wait until the host is quiet for three samples in a row, and on average of them; the log says what it waits for.

    Returns:
        whether it became quiet within ``seconds``.
    """
    end, say_again, quiet_samples = time.monotonic() + seconds, 0.0, list[float]()
    before = trust.usual(known(home), "others")
    while True:
        now = look(home)
        found = now.disturbed
        quiet_samples = [] if found else [*quiet_samples, now.others_at_rest or 0.0][-_QUIET_SAMPLES:]
        if len(quiet_samples) == _QUIET_SAMPLES and statistics.fmean(quiet_samples) < before + trust.limit_of(
            now.cores or 1
        ):
            return True
        left = end - time.monotonic()
        if left <= 0:
            return False
        if time.monotonic() >= say_again:
            log.info("waiting until the host is quiet, %.0f s at most%s", left, f": {found}" if found else "")
            say_again = time.monotonic() + _SAID_AGAIN


def told(now: Noise) -> str:
    """What `look` found, in one line."""
    (sample,) = now.samples
    others = (
        ""
        if now.others_at_rest is None
        else f", other programs keep {now.others_at_rest:.1f} of {now.cores} cores busy"
    )
    return (
        f"canary: computing {sample.cpu * 1e3:.1f} ms, memory {sample.memory / 1e9:.1f} GB/s, cache {sample.cache * 1e9:.1f} ns, "
        f"sleeps {sample.late * 1e6:.0f} µs late; load {now.load_before:.1f}{others}"
    )


def _known_file(home: Path) -> Path:
    return known_host.file_of(home, describe().fingerprint)


def _shared() -> bool:
    return bool(os.environ.get(SHARED, "").strip())


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
