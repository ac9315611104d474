"""One series from night to night: what is usual of it, and how far tonight lies from that.

Values are "up is worse": logarithms of times, minus the logarithm of rates, differences of shares.

    usual     the level: the mean of the last 60 valid nights but the newest three, of which tonight is one, each clipped at
              `_CLIP` standard deviations; at least `LEAST` nights.
    spread    their standard deviation, shrunk towards the median of the suite's series, which weighs as much as 15 nights.
    a build   an index that is built anew answers otherwise. The level of its nights begins at that of the build before, known
              only to what builds differ by, and is learned with each night.
    sums      what lies above the usual by little, night after night, adds up (Page, *Continuous inspection schemes*,
              Biometrika 1954), up and down apart.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from nightgate.regression.thresholds import Thresholds

LEAST = 10
"""Nights that make a usual."""
WINDOW = 60
_NEWEST = 2  # before tonight, which may have what tonight has
_CLIP = 2.5
_SUITE_WEIGHT = 15.0
_BUILD_SD, _BUILD_WEIGHT = 0.05, 3.0
_MAD = 1.4826  # of a normal distribution, over its median absolute deviation
_RECOVERED_NIGHTS = 2
_REMEMBERED = 7  # nights
_ONE_NIGHT = 3.0  # standard deviations that one night adds to the sums at most


@dataclass(frozen=True)
class Usual:
    """``level`` with its standard error ``error``; ``sd`` between nights; ``nights`` it is known from."""

    level: float
    error: float
    sd: float
    nights: int

    def far(self, value: float) -> float:
        """By how many standard deviations a night lies above it."""
        return (value - self.level) / math.hypot(self.sd, self.error)


@dataclass(frozen=True)
class Candidate:
    """A night that is to be measured again beside the control. ``shift``: how far from the usual, ``slow``: by the sums."""

    shift: float
    far: float
    slow: bool
    usual: Usual
    rebuilt: bool = False

    @property
    def worse(self) -> bool:
        return self.shift > 0


@dataclass
class Course:
    """One series. Call `tonight` for each valid night in their order and, when that finds something, `answered` before the
    next; a night that is missing, excluded or disturbed is left out and leaves no trace."""

    least_sd: float = 0.005
    values: list[float] = field(default_factory=list)
    """Of the present build, and since the last shift that lasts."""
    builds: list[float] = field(default_factory=list)
    """The levels of the builds before."""
    residuals: list[float] = field(default_factory=list)
    """Of all builds, the newest `WINDOW`: nights less their level."""
    build: str | None = None
    up: float = 0.0
    down: float = 0.0
    open: Usual | None = None
    """The usual before a confirmed shift that has neither gone nor been taken for the new usual."""
    since: list[float] = field(default_factory=list)
    """The nights since that shift."""
    rounds: list[tuple[int, list[float]]] = field(default_factory=list)
    """What it measured beside the control of late, in nights that did not decide: how many nights ago, and the ratios."""
    scatters: list[tuple[float, int]] = field(default_factory=list)
    """Of the newest nights that were measured beside the control: the squares of the rounds around their mean, and how many are free."""
    _kept: tuple[float, float] | None = None

    def own_sd(self) -> float | None:
        """The standard deviation between its nights, clipped; None while there are too few."""
        seen = self._seen()
        return seen and seen[1]

    def usual(self, suite_sd: float | None) -> Usual | None:
        """What is usual of it, None while nobody can say. ``suite_sd``: the median of the suite's series of this kind."""
        known, seen = self._known(), self._seen()
        if seen is None:
            return None
        level, own = seen
        freedom = max(1, len(known) + len(self.residuals) - 1)
        weight = _SUITE_WEIGHT if suite_sd is not None else 0.0
        sd = math.sqrt((freedom * own**2 + weight * (suite_sd or 0.0) ** 2) / (freedom + weight))
        sd = max(sd, self.least_sd)
        if not self.builds:
            return Usual(level, sd / math.sqrt(len(known)), sd, len(known)) if known else None
        before, apart = self.builds[-1], self.build_sd()
        if not known:
            return Usual(before, apart, sd, len(self.residuals))
        noise = sd**2 / len(known)
        share = apart**2 / (apart**2 + noise)
        return Usual(before + share * (level - before), math.sqrt(share * noise), sd, len(known) + len(self.residuals))

    def build_sd(self) -> float:
        """What two builds differ by: learned from those before, with a prior."""
        steps = [later - earlier for earlier, later in zip(self.builds, self.builds[1:], strict=False)]
        learned = sum(step**2 for step in steps) / 2  # each holds two builds
        return math.sqrt((learned + _BUILD_WEIGHT * _BUILD_SD**2) / (len(steps) + _BUILD_WEIGHT))

    def tonight(
        self, value: float, limits: Thresholds, suite_sd: float | None, build: str | None = None
    ) -> Candidate | None:
        """Take one more night; what it found, if that is to be measured again."""
        rebuilt = self._of_build(build)
        usual = self.open or self.usual(suite_sd)
        self.values.append(value)
        self.rounds = [(ago + 1, ratios) for ago, ratios in self.rounds if ago < _REMEMBERED]
        self._kept = None
        if usual is None:
            return None
        if self.open is not None:
            self.since.append(value)
            return None
        far, shift = usual.far(value), value - usual.level
        step = min(max(far, -_ONE_NIGHT), _ONE_NIGHT)
        self.up, self.down = max(0.0, self.up + step - limits.slack), max(0.0, self.down - step - limits.slack)
        if (abs(far) > limits.candidate and abs(shift) > limits.effect) or (usual.sd > limits.blind and shift > 0):
            return Candidate(shift, far, False, usual, rebuilt)
        if max(self.up, self.down) > limits.sum:
            sign = 1.0 if self.up >= self.down else -1.0
            return Candidate(sign * max(abs(shift), limits.slow_effect), far, True, usual, rebuilt)
        return None

    def answered(self, candidate: Candidate, confirmed: bool, *, host: bool = False) -> None:
        """What became of tonight's candidate: confirmed, refuted, or it was the ``host``, whose night is none."""
        self._kept = None
        if host:
            self.values.pop()
            self.up, self.down = self.up / 2, self.down / 2
        elif confirmed and candidate.worse:
            self.open, self.since, self.rounds, self.up, self.down = candidate.usual, [self.values[-1]], [], 0.0, 0.0
        elif confirmed:  # better for good: a new usual
            self.restart(1)
        else:
            self.up, self.down = self.up / 2, self.down / 2

    def recovered(self, limits: Thresholds) -> bool:
        """Whether a shift has gone: the last two nights lie nearer to the usual before it than to what came then, and within
        what is usual. It is closed then."""
        usual = self.open
        if usual is None or len(self.since) <= _RECOVERED_NIGHTS:
            return False
        shift = self.since[0] - usual.level
        newest = self.since[-_RECOVERED_NIGHTS:]
        if all(value - usual.level < shift / 2 and usual.far(value) < limits.candidate for value in newest):
            # what was shifted says nothing of the usual
            del self.values[-len(self.since) : len(self.values) - _RECOVERED_NIGHTS]
            self._kept = None
            self.open, self.since = None, []
            return True
        return False

    def lasting(self) -> bool:
        """Whether a shift has lasted until its nights are a usual of their own, which is watched from then on."""
        if self.open is None or len(self.since) < LEAST + _NEWEST:
            return False
        self.restart(len(self.since))
        return True

    def restart(self, newest: int = 0) -> None:
        """Only the ``newest`` nights still say what is usual; how far they scatter is remembered."""
        self._kept = None
        self._keep_residuals(len(self.values) - newest)
        self.values = self.values[len(self.values) - newest :] if newest else []
        self.builds, self.up, self.down, self.open, self.since, self.rounds = [], 0.0, 0.0, None, [], []

    def _known(self) -> list[float]:
        """The nights that say what its level is: all of a level that is new, or what tonight has would hide itself."""
        new = self.builds or (self.residuals and len(self.values) < LEAST + _NEWEST)
        return self.values[-WINDOW:] if new else self.values[:-_NEWEST][-WINDOW:]

    def _seen(self) -> tuple[float, float] | None:
        """Level and standard deviation, as its nights alone have them; None while there are too few."""
        if self._kept is None:
            known = self._known()
            self._kept = _clipped(known, self.residuals) if len(known) + len(self.residuals) >= LEAST else (0.0, -1.0)
        return None if self._kept[1] < 0 else self._kept

    def _of_build(self, build: str | None) -> bool:
        """Whether tonight's is another build than that of the nights before."""
        other = self.build is not None and build is not None and build != self.build and self.open is None
        if other and self.values:
            self._kept = None
            level, _ = _clipped(self.values[-WINDOW:], ())
            self._keep_residuals(len(self.values))
            self.builds, self.values, self.rounds = [*self.builds, level][-8:], [], []
            self.up = self.down = 0.0
        self.build = build or self.build
        return other

    def _keep_residuals(self, count: int) -> None:
        past = self.values[:count]
        if past:
            level, _ = _clipped(past[-WINDOW:], ())
            self.residuals = [*self.residuals, *(value - level for value in past)][-WINDOW:]


def _clipped(values: list[float], residuals: list[float] | tuple[()]) -> tuple[float, float]:
    """The mean of ``values`` and the standard deviation of these and of ``residuals`` around it, all clipped."""
    ordered = sorted(values)
    middle = _median(ordered) if ordered else 0.0
    apart = sorted([abs(value - middle) for value in ordered] + [abs(one) for one in residuals])
    reach = _CLIP * _MAD * _median(apart)
    kept = [min(max(value - middle, -reach), reach) for value in ordered]
    mean = sum(kept) / len(kept) if kept else 0.0
    squares = sum((one - mean) ** 2 for one in kept) + sum(min(abs(one), reach) ** 2 for one in residuals)
    count = len(kept) + len(residuals)
    return middle + mean, math.sqrt(squares / max(1, count - 1))


def _median(ordered: list[float]) -> float:
    count = len(ordered)
    return (ordered[(count - 1) // 2] + ordered[count // 2]) / 2
