"""Whether speeds that were measured on a host count: pure decisions from what was seen of it.

=================================  ==================  ===============================================================
seen                               disturbed from      because
=================================  ==================  ===============================================================
other programs, on average         0.35 cores more     Airflow that follows a run takes 0.21 on a slow host (0.08 at rest);
                                   than usual, on      who works for a third of the time reaches into the P95 and into means
                                   more than 7 a
                                   twentieth of them
other programs, half a core and    a twentieth of the  the P95 is decided by the slowest twentieth of the calls
more at a time (on more than 5 a   time
tenth of them)
the same, of samples alone         0.5 cores more      they are few and short, and all there is where a server that
                                   than usual, or a    works for us cannot be told from others
                                   fifth of the time
stolen by the hypervisor           .05 of the time     as above
                                   more than usual
held back at the cgroup's limit    .05 of the time     as above
slowed down for heat               .05 of the time     as above
the canary's loop lost its core    .10 of the time     it stands in for stealing that is not counted
                                   more than usual
the canary's computation, memory   2.5 × slower than   such hosts have two speeds by themselves, 1.6 × apart and 1.9 ×
or cache                           usual               between extremes; beyond that it is somebody else
=================================  ==================  ===============================================================

Usual is the median of the newest fifteen measurements that `is_usual` let into what is known of the host, once there are five.
A host whose services never rest, or whose hypervisor steals a little every night, is so; what comes on top is a disturbance.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from nightgate.facts import HostSample, Noise
from nightgate.measure.known_host import Known

AVERAGE, QUIET, OF_CORES = 0.35, 0.25, 0.05
LOADED = 2.0
"""Times the limit on average. Who keeps so much busy over a stretch of seconds is at work, and no service that wakes up now and
then."""
SHARE = 0.05
AT_REST, SHARE_AT_REST = 2.0, 0.2
"""Times the limit on average, and the share of the time, where only samples can tell."""
LOST = 0.10
SLOWER = 2.5
ENOUGH, NEWEST = 5, 15
STOLEN_EVERY_NIGHT = 0.15
"""A host that loses more of its time than this is never usual."""
NEAR = 1.25
"""A round of the canary is fast when it took at most so many times the fastest."""


def disturbed(noise: Noise, known: Sequence[Known]) -> str | None:
    """Why speeds of a measurement count for nothing, in one sentence; None where they do.

    Args:
        noise: all of it, but ``disturbed``.
        known: what was known of the host before, oldest first.
    """
    others = _at_work(noise) or _on_average(noise, known)
    stolen = _over(
        noise.stolen, SHARE + usual(known, "stolen"), "the hypervisor gave {} of the running time to other machines"
    )
    lost = _over(
        lost_share(noise.samples),
        LOST + usual(known, "lost"),
        "something else ran on the canary's core for {} of its time",
    )
    reasons = [
        others,
        stolen,
        *_of_the_host(noise),
        None if others or stolen else lost,
        *_slow(noise.samples, known),
    ]
    return "; ".join(reason for reason in reasons if reason) or None


def is_usual(noise: Noise) -> bool:
    """Whether a measurement tells how the host is by itself: nobody was at work beside it, and nothing held it back.

    One that was slow for no reason to be seen is among them: if the host stays so, this is how it is.
    """
    stolen = (noise.stolen or 0.0) < STOLEN_EVERY_NIGHT
    return stolen and not _at_work(noise) and not any(_of_the_host(noise))


def usual(known: Sequence[Known], part: str) -> float:
    """The median of the newest; 0 while too little is known."""
    newest = known[-NEWEST:] if len(known) >= ENOUGH else []
    return statistics.median(float(getattr(one, part)) for one in newest) if newest else 0.0


def limit_of(cores: int) -> float:
    """How many cores other programs may keep busy beyond what is usual where a quiet moment is waited for."""
    return max(QUIET, OF_CORES * cores)


def loaded_from(cores: int) -> float:
    """From how many cores on that others keep busy over a stretch of seconds, they are at work."""
    return LOADED * limit_of(cores)


def lost_share(samples: Sequence[HostSample]) -> float:
    """Of all the time that the canary's loop was at work."""
    seconds = sum(sample.seconds for sample in samples)
    return sum(sample.lost * sample.seconds for sample in samples) / seconds if seconds else 0.0


def _at_work(noise: Noise) -> str | None:
    """Others that kept much of the host busy, for some of the time."""
    since = [sample.others_since for sample in noise.samples]
    at_rest = [sample.others for sample in noise.samples]
    for seen, share, least, of in (
        (since, noise.loaded_share, SHARE, "of the time"),
        (at_rest, noise.loaded_at_rest, SHARE_AT_REST, "of the samples"),
    ):
        if share is not None and share >= least:
            least = loaded_from(noise.cores or 1)
            kept = statistics.fmean([others for others in seen if others is not None and others >= least] or [least])
            when = "all the time" if share > 0.9 else "for most of it" if share > 0.5 else f"for {share:.0%} {of}"
            return _kept(noise, kept, when)
    return None


def _on_average(noise: Noise, known: Sequence[Known]) -> str | None:
    limit, before = limit_of(noise.cores or 1), usual(known, "others")
    for others, most in ((noise.others, max(limit, AVERAGE)), (noise.others_at_rest, AT_REST * limit)):
        if others is not None and others >= before + most:
            return _kept(noise, others, "on average" + (f" ({before:.1f} as a rule)" if before >= 0.05 else ""))
    return None


def _kept(noise: Noise, others: float, when: str) -> str:
    who = f"another program ({noise.program})" if noise.program else "other programs"
    return f"{who} kept {others:.1f} of {noise.cores or 1} cores busy {when}"


def _of_the_host(noise: Noise) -> list[str | None]:
    return [
        _over(noise.throttled, SHARE, "the limit of the cgroup held our processes back for {} of the time"),
        _over(noise.hot, SHARE, "the processor was slowed down for its heat for {} of the time"),
    ]


def _over(share: float | None, limit: float, sentence: str) -> str | None:
    return sentence.format(f"{share:.0%}") if share is not None and share >= limit else None


def _slow(samples: Sequence[HostSample], known: Sequence[Known]) -> list[str]:
    if len(known) < ENOUGH or not samples:
        return []
    parts = {
        "computing": (_median(samples, "cpu"), usual(known, "cpu")),
        "copying memory": (1 / _median(samples, "memory"), 1 / usual(known, "memory")),
        "reading from the cache": (_median(samples, "cache"), usual(known, "cache")),
    }
    count = min(len(known), NEWEST)
    return [
        f"{part} took {now / before:.1f} × as long as in the last {count} quiet measurements"
        for part, (now, before) in parts.items()
        if now >= SLOWER * before
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
        [sum(sample) / len(sample) for sample in near],
        sum(every) / len(every),
        statistics.median(slow) if slow else None,
    )


def fastest_of(rounds: Sequence[float]) -> float:
    """Where the fastest tenth of ``rounds`` ends, seconds."""
    return sorted(rounds)[(len(rounds) - 1) // 10]
