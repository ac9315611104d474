"""Watch a host while something is measured on it: samples before, between and after, and the kernel's counters throughout."""

from __future__ import annotations

import logging
import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from nightgate import facts
from nightgate.facts import HostSample, Noise
from nightgate.measure import known_host, trust
from nightgate.measure.canary import Canary, Readings
from nightgate.measure.counters import KERNEL_THREADS, ROOT, Counters, Load, between, read
from nightgate.measure.known_host import Known
from nightgate.record import utc_now

log = logging.getLogger(__name__)

GLANCE = 0.2
"""Seconds of a sample between what is timed."""

_LEAST_PAUSE = 5.0
_PAUSES = 20
"""Between two glances lie so many times what one takes at least, and a twentieth of the time so far: they take less than
a twentieth of the time, and a long measurement has some sixty of them."""
_DIGITS = 4
_NUMBERS = (
    "others",
    "loaded_share",
    "others_at_rest",
    "loaded_at_rest",
    "stolen",
    "throttled",
    "hot",
    "waited",
    "at_full_speed",
    "slowdown",
)


@dataclass(frozen=True)
class _Seen:
    """One sample: the readings of the canary between two of the counters."""

    first: Counters
    readings: Readings
    last: Counters


class Watch:
    """One measurement's. Call `before`, `glance` and `after` in the process that starts what is timed, while that rests."""

    def __init__(self, servers: Sequence[str] = (), root: Path = ROOT) -> None:
        """
        Args:
            servers: names of programs outside of our own processes that work for the measurement, such as a database.
                Where they cannot be seen, as in another container, only while they rest is what is busy somebody else's.
            root: below which ``proc`` and ``sys`` lie.
        """
        self._servers, self._root = frozenset(servers), root
        self._canary = Canary()
        self._ours = frozenset({os.getpid(), KERNEL_THREADS})
        self._seen: list[_Seen] = []
        self._next = 0.0

    def sample(self, seconds: float) -> None:
        """Look at the host for about ``seconds``."""
        first = read(self._root)
        readings = self._canary.sample(seconds)
        self._seen.append(_Seen(first, readings, read(self._root)))
        took, now = time.monotonic() - first.at, self._seen[-1].last.at
        pause = max(_LEAST_PAUSE, _PAUSES * took if seconds <= GLANCE else 0.0, (now - self._seen[0].last.at) / _PAUSES)
        self._next = now + pause

    def glance(self) -> None:
        """Look at the host for a moment, if the last time is long enough ago; else this costs nothing."""
        if time.monotonic() >= self._next:
            self.sample(GLANCE)

    def settle(self, seconds: float, patience: float, known: Sequence[Known]) -> None:
        """Wait, ``patience`` seconds at most, until nothing disturbs one sample of ``seconds``; then that is the first.

        What was started before, such as the last task of another benchmark, comes to its end meanwhile.
        """
        end, said = time.monotonic() + patience, False
        while True:
            self._seen.clear()
            self.sample(seconds)
            self.describe(now := Noise(), known)
            found = trust.disturbed(now, known)
            if not found or time.monotonic() >= end:
                return
            if not said:
                log.info("the measurement waits for a quiet moment, %.0f s at most: %s", patience, found)
                said = True

    def describe(self, noise: Noise, known: Sequence[Known]) -> None:
        """Write all that was seen into ``noise``, but what was decided of it."""
        seen, start = self._seen, self._seen[0].last.at
        shares, noise.at_full_speed, noise.slowdown = trust.states([one.readings.cpu for one in seen], known)
        noise.canary_before, noise.canary_after = (_canary(one.readings) for one in (seen[0], seen[-1]))
        noise.samples = [
            self._told(one, seen[place - 1] if place else None, start, share)
            for place, (one, share) in enumerate(zip(seen, shares, strict=True))
        ]
        noise.cores, noise.unread = seen[0].first.cores, list(seen[0].first.unread)
        self._over_all(noise)
        for name in _NUMBERS:
            setattr(noise, name, _rounded(getattr(noise, name)))

    def known(self, noise: Noise) -> Known:
        """What this measurement tells of the host; ``noise`` as `describe` wrote it."""
        rounds = [seconds for one in self._seen for seconds in one.readings.cpu]
        return Known(
            at=utc_now(),
            cpu=statistics.median(rounds),
            fastest=trust.fastest_of(rounds),
            memory=statistics.median(rate for one in self._seen for rate in one.readings.memory),
            cache=statistics.median(seconds for one in self._seen for seconds in one.readings.cache),
            others=(noise.others_at_rest if noise.others is None else noise.others) or 0.0,
            stolen=noise.stolen or 0.0,
            lost=trust.lost_share(noise.samples),
        )

    def _at_rest(self, one: _Seen) -> Load:
        """Of one sample, during which servers rest as well: what they do is somebody else's too."""
        return between(one.first, one.last, self._ours)

    def _between(self, first: Counters, last: Counters) -> Load:
        """Of time in which we and our servers may have worked; nothing of others where a server cannot be seen."""
        seen = {program.name for program in last.programs.values()}
        programs = {**first.programs, **last.programs}  # one that was started anew has another number
        ours = [pid for pid, program in programs.items() if program.name in self._servers]
        load = between(first, last, {*self._ours, *ours})
        return load if self._servers <= seen else replace(load, others=None, program=None)

    def _told(self, one: _Seen, before: _Seen | None, start: float, at_full_speed: float) -> HostSample:
        load, readings = self._at_rest(one), one.readings
        since = self._between(before.last, one.last) if before else None
        program = since.program if since and since.program else load.program
        numbers = {
            "at": one.first.at - start,
            "seconds": load.seconds,
            "at_full_speed": at_full_speed,
            "cpu": statistics.median(readings.cpu),
            "memory": statistics.median(readings.memory),
            "cache": statistics.median(readings.cache),
            "late": readings.late,
            "longest_gap": readings.longest_gap,
            "lost": readings.lost,
            "others": load.others,
            "others_since": since.others if since else None,
        }
        return HostSample.model_validate(
            {name: _rounded(number) for name, number in numbers.items()} | {"program": program}
        )

    def _over_all(self, noise: Noise) -> None:
        """What holds for the measurement as a whole, from the end of the first sample to that of the last."""
        seen = self._seen
        whole = self._between(seen[0].last if len(seen) > 1 else seen[0].first, seen[-1].last)
        noise.stolen, noise.throttled, noise.hot, noise.waited = whole.stolen, whole.throttled, whole.hot, whole.waited
        loaded = trust.loaded_from(seen[0].first.cores)
        at_rest = [self._at_rest(one) for one in seen]
        stretches = [self._between(one.last, next_.last) for one, next_ in pairwise(seen)]
        noise.others, noise.loaded_share = _loaded(stretches, loaded)
        if self._servers or not stretches:
            noise.others_at_rest, noise.loaded_at_rest = _loaded(at_rest, loaded)
        named = [(load.seconds * (load.others or 0.0), load.program) for load in (*stretches, *at_rest) if load.program]
        noise.program = max(named, key=lambda each: each[0])[1] if named else None


def _loaded(stretches: Sequence[Load], least: float) -> tuple[float | None, float | None]:
    """How many cores others kept busy on average, and the share of the time in which it were ``least`` or more."""
    counted = [(load.seconds, load.others) for load in stretches if load.others is not None]
    total = sum(seconds for seconds, _ in counted)
    if not total:
        return None, None
    loaded = sum(seconds for seconds, others in counted if others >= least)
    return sum(seconds * others for seconds, others in counted) / total, loaded / total


def _canary(readings: Readings) -> facts.Canary:
    rounds = sorted(readings.cpu)
    middle, spread = statistics.median(rounds), rounds[3 * len(rounds) // 4] - rounds[len(rounds) // 4]
    return facts.Canary(seconds=middle, spread=float(f"{spread / middle:.{_DIGITS}g}"))


def _rounded(number: float | None) -> float | None:
    return None if number is None else float(f"{number:.{_DIGITS}g}")


def judged(noise: Noise, watch: Watch, file: Path, *, tolerant: bool) -> None:
    """Describe and judge a measurement that is over, and remember it where it tells how the host is.

    Args:
        file: what is known of the host, see `known_host`.
        tolerant: whether others may use the host too; then ``tolerated`` says what would have disturbed it.
    """
    known = known_host.read(file)
    watch.describe(noise, known)
    found = trust.disturbed(noise, known)
    noise.disturbed, noise.tolerated = (None, found) if tolerant else (found, None)
    if trust.is_usual(noise):
        known_host.add(file, known, watch.known(noise))
