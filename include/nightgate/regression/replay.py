"""The past of all series of a suite, replayed night by night with what was measured beside the control, up to tonight.

Nothing of it is stored but what was measured: the same nights always lead to the same findings, and a night that comes later
changes none that came before it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from nightgate.judge.past import Night
from nightgate.judge.scatter import assumed
from nightgate.metrics import MetricSpec
from nightgate.regression.course import Candidate, Usual
from nightgate.regression.dating import dated
from nightgate.regression.suite import Answer, Beside, Suite, Tonight
from nightgate.regression.thresholds import Thresholds, thresholds
from nightgate.results.beside import Measured, SeriesKey

_SHARE_EFFECT, _SHARE_SLOW_EFFECT = 0.01, 0.005
_SIZE_LEAST = 0.001
_WINDOW = 60  # nights that a shift is looked for in


@dataclass(frozen=True)
class Followed:
    """One series: the declaration of its metric and its ``nights``, oldest first, tonight's the last if it was measured."""

    spec: MetricSpec
    nights: Sequence[Night]


@dataclass(frozen=True)
class Found:
    """What one night showed of one series. ``answer`` is None where nothing was measured beside the control."""

    key: SeriesKey
    run_id: str
    at: str
    candidate: Candidate
    answer: Answer | None
    value: float

    @property
    def confirmed(self) -> bool:
        return self.answer is not None and self.answer.confirmed


@dataclass(frozen=True)
class Regressed:
    """A confirmed regression that neither went nor became the new usual: how it was found, and the night it dates to."""

    found: Found
    since_run: str
    since: str


@dataclass
class Replayed:
    """``tonight``: the candidates of the last night; ``open``: the regressions that hold; ``recovered``: those that went tonight;
    ``better``: how many improvements were confirmed in all ``nights``, and ``alerts`` how many regressions."""

    suite: Suite[SeriesKey]
    tonight: list[Found] = field(default_factory=list)
    open: dict[SeriesKey, Regressed] = field(default_factory=dict)
    recovered: list[SeriesKey] = field(default_factory=list)
    better: int = 0
    alerts: int = 0
    nights: int = 0


def kind_of(spec: MetricSpec) -> str:
    return "speed" if spec.of_speed else "size" if spec.logarithmic else f"share {spec.name}"


def badness(value: float, spec: MetricSpec) -> float:
    """The value on the scale of comparison, up is worse."""
    on_scale = math.log(value) if spec.logarithmic else value
    return -on_scale if spec.higher_is_better else on_scale


def value_of(night: Night, spec: MetricSpec) -> float | None:
    """What a night measured of a metric, by its first run that something disturbed in nothing that matters here; on the scale of
    comparison. None: nothing."""
    for one in night.measured:
        metric = one.metrics.get(spec.name)
        if metric is None or (one.disturbed and spec.of_speed) or (spec.logarithmic and metric.value <= 0):
            continue
        return badness(metric.value, spec)
    return None


def replay(
    followed: Mapping[SeriesKey, Followed], measured: Mapping[tuple[str, SeriesKey], Measured], alerts_a_year: float
) -> Replayed:
    """Every night in its order, each with what was measured beside the control in it."""
    usual = thresholds(alerts_a_year, len(followed))
    kinds = {key: kind_of(one.spec) for key, one in followed.items()}
    suite = Suite(
        kinds,
        {kind: _limits(kind, usual) for kind in kinds.values()},
        {
            kinds[key]: max(
                assumed(one.spec).least, 0.0 if one.spec.of_speed else _SIZE_LEAST if one.spec.logarithmic else 0.0
            )
            for key, one in followed.items()
        },
    )
    found = Replayed(suite)
    order = sorted({(night.at, night.run_id) for one in followed.values() for night in one.nights})
    by_run = {(night.run_id, key): night for key, one in followed.items() for night in one.nights}
    runs = list(dict.fromkeys(run_id for _, run_id in order))
    values: dict[SeriesKey, list[tuple[str, str, float]]] = {key: [] for key in followed}
    for place, run_id in enumerate(runs):
        tonight: dict[SeriesKey, Tonight] = {}
        for key, one in followed.items():
            night = by_run.get((run_id, key))
            value = value_of(night, one.spec) if night else None
            if night and value is not None:
                tonight[key] = Tonight(value, _build(night))
                values[key].append((run_id, night.at, value))
        _one_night(found, run_id, tonight, followed, measured, values, last=place == len(runs) - 1)
        found.nights += bool(tonight)
    return found


def _one_night(
    found: Replayed,
    run_id: str,
    tonight: Mapping[SeriesKey, Tonight],
    followed: Mapping[SeriesKey, Followed],
    measured: Mapping[tuple[str, SeriesKey], Measured],
    values: dict[SeriesKey, list[tuple[str, str, float]]],
    *,
    last: bool,
) -> None:
    suite = found.suite
    for key, candidate in suite.night(tonight).items():
        asked = measured.get((run_id, key))
        answer = None
        if asked and asked.tonight:
            spec = followed[key].spec
            sides = [[badness(value, spec) for value in side] for side in (asked.tonight, asked.control)]
            answer = suite.decide(key, candidate, Beside(sides[0], sides[1], asked.same_build))
        _, at, value = values[key][-1]
        one = Found(key, run_id, at, candidate, answer, value)
        if last:
            found.tonight.append(one)
        if answer and answer.host:
            values[key].pop()  # nothing is dated by a night of the host
            continue
        if one.confirmed and candidate.worse:
            found.alerts += 1
            since = _dated(values[key], candidate.usual)
            found.open[key] = Regressed(one, *since)
        elif one.confirmed:
            found.better += 1
            found.open.pop(key, None)
            if last:
                found.recovered.append(key)
    for key in tonight:
        course = suite.courses[key]
        if course.recovered(suite.limits[suite.kinds[key]]):
            found.open.pop(key, None)
            if last:
                found.recovered.append(key)
        else:
            course.lasting()  # it stays open, and its new level is watched


def _dated(nights: Sequence[tuple[str, str, float]], usual: Usual) -> tuple[str, str]:
    """The run and the time of the first night of a shift that was confirmed in the last of ``nights``: by change points where
    there are enough nights after it, else the first of those at the end that lie nearer to the last than to what is usual."""
    newest = list(nights[-_WINDOW:])
    first, half = len(newest) - 1, (newest[-1][2] + usual.level) / 2
    while first > 0 and newest[first - 1][2] > half:
        first -= 1
    if len(newest) - first >= 3:
        first = dated([value for _, _, value in newest]) or first
    return newest[first][0], newest[first][1]


def _limits(kind: str, usual: Thresholds) -> Thresholds:
    return replace(usual, effect=_SHARE_EFFECT, slow_effect=_SHARE_SLOW_EFFECT) if kind.startswith("share") else usual


def _build(night: Night) -> str | None:
    return " ".join(f"{name}={night.builds[name]}" for name in sorted(night.builds)) or None
