"""What the kernel counts of a host: how long its cores worked and for whom, and how long they were kept from it.

All are totals since the start, so that two readings tell of all the time between them and nothing has to be watched
meanwhile. Sources: proc_stat(5), proc_pid_stat(5), the kernel's ``admin-guide/cgroup-v2`` (cpu.stat), ``accounting/psi`` and
``admin-guide/pm`` (thermal_throttle).
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path("/")
KERNEL_THREADS = 2
"""The process id of their parent: what they do, such as writing to disk, they do for a program."""

_LEAST_COUNTED = 0.5
"""A kernel that counts less than this share of what our own processes say they took does not count at all, as in some
sandboxes; the rest is that it counts in ticks."""


@dataclass(frozen=True)
class Program:
    """One process: its parent, its name, the seconds it took of a core and those of its children that are gone."""

    parent: int
    name: str
    seconds: float
    gone: float


@dataclass(frozen=True)
class Counters:
    """One reading. Seconds that were spent before it, None where the kernel does not say; ``unread`` says why.

    ``busy`` and ``stolen`` are of the ``cores`` that this process may use: the time in which programs ran (without
    interrupts), and the one in which the hypervisor let another machine run instead. ``throttled``: our processes were at
    the limit of their cgroup; ``hot``: a core was slowed down for its heat; ``waited``: some process waited for a core.
    """

    at: float
    cores: int
    busy: float | None = None
    stolen: float | None = None
    programs: Mapping[int, Program] = field(default_factory=dict)
    throttled: float | None = None
    hot: float | None = None
    waited: float | None = None
    unread: tuple[str, ...] = ()


@dataclass(frozen=True)
class Load:
    """What happened between two readings.

    ``others``: how many cores other programs kept busy on average, and ``program`` the name of the one that did most of it,
    where it can be seen. The rest are shares of the time: ``stolen`` of the running time, the others of all.
    """

    seconds: float
    others: float | None = None
    program: str | None = None
    stolen: float | None = None
    throttled: float | None = None
    hot: float | None = None
    waited: float | None = None


def read(root: Path = ROOT) -> Counters:
    """Read them all, in a few milliseconds. What is not there or not readable is no error.

    Args:
        root: below which ``proc`` and ``sys`` lie.
    """
    cores = os.sched_getaffinity(0)
    found: dict[str, float] = {}
    unread = []
    sources: dict[str, Callable[[], dict[str, float]]] = {
        "how busy the cores are": lambda: _cores(root, cores),
        "the limit of the cgroup": lambda: {"throttled": _throttled(root)},
        "throttling for heat": lambda: {"hot": _hot(root)},
        "waiting for a core": lambda: {"waited": _waited(root)},
    }
    for what, source in sources.items():
        try:
            found |= source()
        except (OSError, ValueError, IndexError, StopIteration) as error:
            unread.append(f"{what} ({_why(error)})")
    return Counters(time.monotonic(), len(cores), programs=dict(_programs(root)), unread=tuple(unread), **found)


def between(first: Counters, last: Counters, ours: Collection[int]) -> Load:
    """What happened between two readings.

    Args:
        ours: ids of processes that, with all that they start, work for the measurement.
    """
    seconds = last.at - first.at
    if seconds <= 0:
        return Load(0.0)
    busy, stolen = _grown(first.busy, last.busy), _grown(first.stolen, last.stolen)
    own = max(0.0, _tree(last, ours) - _tree(first, ours) + _of_the_gone(first, last, ours))
    counted = busy is not None and busy >= _LEAST_COUNTED * own
    others = max(0.0, busy - own) / seconds if busy is not None and counted else None
    return Load(
        seconds=seconds,
        others=others,
        program=_busiest(first, last, ours, others * seconds) if others else None,
        stolen=stolen / (busy + stolen) if busy and stolen is not None and counted else None,
        throttled=_share(first.throttled, last.throttled, seconds),
        hot=_share(first.hot, last.hot, seconds),
        waited=_share(first.waited, last.waited, seconds),
    )


def _grown(first: float | None, last: float | None) -> float | None:
    return None if first is None or last is None else max(0.0, last - first)


def _share(first: float | None, last: float | None, seconds: float) -> float | None:
    grown = _grown(first, last)
    return None if grown is None else min(1.0, grown / seconds)


def _is_ours(pid: int, programs: Mapping[int, Program], ours: Collection[int]) -> bool:
    seen = set()
    while pid in programs and pid not in seen:
        if pid in ours:
            return True
        seen.add(pid)
        pid = programs[pid].parent
    return False


def _tree(counters: Counters, ours: Collection[int]) -> float:
    """Seconds of a core that our processes took; whoever is gone counts with its parent."""
    programs = counters.programs
    return sum(one.seconds + one.gone for pid, one in programs.items() if _is_ours(pid, programs, ours))


def _of_the_gone(first: Counters, last: Counters, ours: Collection[int]) -> float:
    """What `_tree` lacks of our processes that were started by somebody else and have ended, such as a server that was started
    anew: all they took counts with their parent now. Where that cannot be seen, what they took before."""
    ended = {
        pid
        for pid in ours
        if pid in first.programs
        and pid not in last.programs
        and not _is_ours(first.programs[pid].parent, first.programs, ours)
    }
    lost = 0.0
    for parent in {first.programs[pid].parent for pid in ended}:
        before = sum(_tree(first, [pid]) for pid in ended if first.programs[pid].parent == parent)
        old, now = first.programs.get(parent), last.programs.get(parent)
        lost += max(before, now.gone - old.gone) if old and now else before
    return lost


def _busiest(first: Counters, last: Counters, ours: Collection[int], of: float) -> str | None:
    """The name under which most of the ``of`` seconds of other programs were spent; None where no name has half."""
    spent: dict[str, float] = defaultdict(float)
    for pid, one in last.programs.items():
        if not _is_ours(pid, last.programs, ours):
            before = first.programs.get(pid)
            spent[one.name] += one.seconds - (before.seconds if before else 0.0)
    name, seconds = max(spent.items(), key=lambda item: item[1], default=("", 0.0))
    return name if seconds >= of / 2 else None


def _cores(root: Path, usable: Collection[int]) -> dict[str, float]:
    """Seconds in which programs ran, and which were stolen."""
    busy = stolen = 0
    found = False
    for line in (root / "proc/stat").read_text().splitlines():
        name, *numbers = line.split()
        if name.startswith("cpu") and name[3:].isdecimal() and int(name[3:]) in usable:
            user, nice, system, _, _, _, _, steal = map(int, numbers[:8])
            busy, stolen, found = busy + user + nice + system, stolen + steal, True
    if not found:
        raise ValueError("proc/stat has no line of the cores that can be used")
    return {"busy": busy / _ticks(), "stolen": stolen / _ticks()}


def _programs(root: Path) -> Iterator[tuple[int, Program]]:
    try:
        pids = [name for name in os.listdir(root / "proc") if name.isdecimal()]
    except OSError:
        return
    for pid in pids:
        try:
            head, _, tail = (root / "proc" / pid / "stat").read_text(errors="replace").rpartition(")")
            parts = tail.split()
            user, system, gone_user, gone_system = (int(part) / _ticks() for part in parts[11:15])
            yield int(pid), Program(int(parts[1]), head.partition("(")[2], user + system, gone_user + gone_system)
        except (OSError, ValueError, IndexError):  # it has just ended
            continue


def _throttled(root: Path) -> float:
    """Of the cgroup and those above it, the one that was held back the longest."""
    fields = [line.split(":", 2) for line in (root / "proc/self/cgroup").read_text().splitlines()]
    found = []
    for _, controllers, path in fields:
        base = root / "sys/fs/cgroup"
        if controllers:
            if "cpu" not in controllers.split(","):
                continue
            base = next(place for name in (controllers, "cpu") if (place := base / name).is_dir())
        place = base / path.lstrip("/")
        for folder in (place, *place.parents):
            if (folder / "cpu.stat").is_file():
                found.append(_throttled_in(folder / "cpu.stat"))
            if folder == base:
                break
    return max(found) if found else _nothing("no cpu.stat")


def _throttled_in(file: Path) -> float:
    said = dict(line.split() for line in file.read_text().splitlines())
    return int(said.get("throttled_usec", 0)) / 1e6 + int(said.get("throttled_time", 0)) / 1e9  # cgroup 2, cgroup 1


def _hot(root: Path) -> float:
    """Of all cores and packages, the one that was slowed down the longest."""
    files = (root / "sys/devices/system/cpu").glob("cpu[0-9]*/thermal_throttle/*_throttle_total_time_ms")
    found = [int(file.read_text()) / 1e3 for file in files]
    return max(found) if found else _nothing("no thermal_throttle")


def _waited(root: Path) -> float:
    line = next(line for line in (root / "proc/pressure/cpu").read_text().splitlines() if line.startswith("some"))
    return int(line.rsplit("total=", 1)[1]) / 1e6


def _nothing(why: str) -> float:
    raise ValueError(why)


def _why(error: Exception) -> str:
    return (error.strerror or "unreadable") if isinstance(error, OSError) else str(error) or "unreadable"


def _ticks() -> int:
    return os.sysconf("SC_CLK_TCK")
