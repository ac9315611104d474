"""Whether speeds that were measured on a host count: pure decisions from what was seen of it.

=================================  ==================  ===============================================================
seen                               disturbed from      because
=================================  ==================  ===============================================================
other programs, on average         0.2 cores, on more  Airflow beside a task takes 0.08, in its worst second 0.16; who works
                                   than 4 cores a      for a fifth of the time reaches into the P95 and into means
                                   twentieth of them
other programs, half a core        a twentieth of the  the P95 is decided by the slowest twentieth of the calls
and more at a time                 time
the same, of samples alone         0.4 cores, or a     they are few and short, and all there is where a server that
                                   fifth of their      works for us cannot be told from others
                                   time
stolen by the hypervisor           .05 of the time     as above
held back at the cgroup's limit    .05 of the time     as above
slowed down for heat               .05 of the time     as above
the canary's loop lost its core    .10 of the time     it stands in for stealing that is not counted; the loop's own
                                                       interrupts stay below .01
the canary's computation, memory   2.5 × slower than   such hosts have two speeds by themselves, 1.6 × apart and 1.9 ×
or cache                           the median of the   between extremes; beyond that it is somebody else
                                   newest 15 quiet
                                   measurements
=================================  ==================  ===============================================================
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from nightgate.facts import HostSample, Noise
from nightgate.measure.known_host import Known

AVERAGE, OF_CORES = 0.2, 0.05
LOADED = 0.5
"""Cores. Whoever keeps so much busy over a stretch of seconds is at work, and no service that wakes up now and then."""
SHARE = 0.05
AT_REST, SHARE_AT_REST = 2.0, 0.2
"""Times the limit on average, and the share of the time, where only samples can tell."""
LOST = 0.10
SLOWER = 2.5
ENOUGH, NEWEST = 10, 15
NEAR = 1.25
"""A round of the canary is fast when it took at most so many times the fastest."""


def disturbed(noise: Noise, known: Sequence[Known]) -> str | None:
    """Why speeds of a measurement count for nothing, in one sentence; None where they do.

    Args:
        noise: all of it, but ``disturbed``.
        known: what was known of the host before, oldest first.
    """
    others = _others(noise)
    reasons = [
        others,
        _over(noise.stolen, "the hypervisor gave {} of the running time to other machines"),
        _over(noise.throttled, "the limit of the cgroup held our processes back for {} of the time"),
        _over(noise.hot, "the processor was slowed down for its heat for {} of the time"),
        None if others else _lost(noise.samples),
        *_slow(noise.samples, known),
    ]
    return "; ".join(reason for reason in reasons if reason) or None


def limit_of(cores: int) -> float:
    """How many cores other programs may keep busy on average."""
    return max(AVERAGE, OF_CORES * cores)


def _others(noise: Noise) -> str | None:
    cores = noise.cores or 1
    since = [sample.others_since for sample in noise.samples]
    at_rest = [sample.others for sample in noise.samples]
    who = f"another program ({noise.program})" if noise.program else "other programs"
    for seen, share, least, often, average, limit in (
        (since, noise.loaded_share, SHARE, "of the time", noise.others, limit_of(cores)),
        (at_rest, noise.loaded_at_rest, SHARE_AT_REST, "of the samples", noise.others_at_rest, AT_REST * limit_of(cores)),
    ):  # fmt: skip
        if share is not None and share >= least:
            kept = statistics.fmean([others for others in seen if others is not None and others >= LOADED] or [LOADED])
            when = "all the time" if share > 0.9 else "for most of it" if share > 0.5 else f"for {share:.0%} {often}"
            return f"{who} kept {kept:.1f} of {cores} cores busy {when}"
        if average is not None and average >= limit:
            return f"{who} kept {average:.1f} of {cores} cores busy on average"
    return None


def _over(share: float | None, sentence: str) -> str | None:
    return sentence.format(f"{share:.0%}") if share is not None and share >= SHARE else None


def _lost(samples: Sequence[HostSample]) -> str | None:
    seconds = sum(sample.seconds for sample in samples)
    share = sum(sample.lost * sample.seconds for sample in samples) / seconds if seconds else 0.0
    return f"something else ran on the core of the canary for {share:.0%} of its time" if share >= LOST else None


def _slow(samples: Sequence[HostSample], known: Sequence[Known]) -> list[str]:
    if len(known) < ENOUGH or not samples:
        return []
    newest = known[-NEWEST:]
    parts = {
        "computing": (_median(samples, "cpu"), statistics.median(one.cpu for one in newest)),
        "copying memory": (1 / _median(samples, "memory"), 1 / statistics.median(one.memory for one in newest)),
        "reading from the cache": (_median(samples, "cache"), statistics.median(one.cache for one in newest)),
    }
    return [
        f"{part} took {now / usual:.1f} × as long as in the last {len(newest)} quiet measurements"
        for part, (now, usual) in parts.items()
        if now >= SLOWER * usual
    ]


def _median(samples: Sequence[HostSample], part: str) -> float:
    return statistics.median(float(getattr(sample, part)) for sample in samples)


def states(rounds: Sequence[Sequence[float]], known: Sequence[Known]) -> tuple[list[float], float, float | None]:
    """In which states the host was.

    Args:
        rounds: sample by sample the seconds of the canary's computation.

    Returns:
        the share of fast rounds of each sample and of all, and how much longer the others took than the fastest, in the
        median; None where there are none. The fastest is the tenth percentile, of these or of what is known, whichever is
        faster: a host that was slow all night has no fast rounds.
    """
    fastest = min([fastest_of([s for sample in rounds for s in sample]), *(one.fastest for one in known)])
    near = [[seconds <= NEAR * fastest for seconds in sample] for sample in rounds]
    slow = [seconds / fastest for sample in rounds for seconds in sample if seconds > NEAR * fastest]
    every = [one for sample in near for one in sample]
    return (
        [sum(sample) / len(sample) for sample in near], sum(every) / len(every), statistics.median(slow) if slow else None,
    )  # fmt: skip


def fastest_of(rounds: Sequence[float]) -> float:
    """Where the fastest tenth of ``rounds`` ends, seconds."""
    return sorted(rounds)[(len(rounds) - 1) // 10]
