"""By how much runs of one series differ: learned from nights, assumed before, and not fooled by a step."""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import fmean

import numpy as np
import pytest

from nightgate.judge import scatter
from nightgate.judge.past import Measured, Night, Past
from nightgate.judge.scatter import SHARES, SIZES, SPEEDS, assumed, known, learn, point
from nightgate.metrics import unknown
from nightgate.record import Between, Metric
from nightgate.transcription.metrics import WER, XRT
from nightgate.vector_search.metrics import INDEX_BYTES, LATENCY, QPS, RECALL

P95, RECALL_5 = LATENCY[95], RECALL[5]


def metric(value, half=None, spec=P95, n=100, **more):
    """With an interval of ±``half`` on the scale of ``spec``, in standard errors of 1.96."""
    move = (lambda x: value * math.exp(x)) if spec.logarithmic else (lambda x: value + x)
    ci95 = None if half is None else (move(-1.959964 * half), move(1.959964 * half))
    return Metric(value=value, unit=spec.unit, n=n, ci95=ci95, **more)


def past(*nights, spec=P95):
    """Each night is one metric, or a tuple of the looks' ones; None: it was not measured."""
    found = []
    for number, night in enumerate(nights):
        looks = night if isinstance(night, tuple) else (night,)
        measured = tuple(
            look if isinstance(look, Measured) else Measured({spec.name: look} if look else {}) for look in looks
        )
        found.append(Night(f"night-{number}", f"2026-01-{number + 1:02}", measured))
    return Past(tuple(found))


def series(chance, sd, nights=30, half=0.01, spec=P95):
    return [metric(float(np.exp(chance.normal(0, math.hypot(sd, half)))), half, spec) for _ in range(nights)]


def learned(sd, series_of=200, **changes):
    chance = np.random.default_rng(1)
    return [learn(past(*series(chance, sd, **changes)), P95) for _ in range(series_of)]


def test_nothing_is_known_at_first_and_the_kind_of_metric_says_what_is_assumed():
    kinds = {
        P95: SPEEDS,
        QPS: SPEEDS,
        XRT: SPEEDS,
        RECALL_5: SHARES,
        WER: SHARES,
        INDEX_BYTES: SIZES,
        unknown("x", "seconds"): SPEEDS,
    }
    for spec, kind in kinds.items():
        found = learn(Past(), spec)
        assert (assumed(spec), found.sd, found.least, found.runs, found.prior) == (kind, kind.sd, kind.least, 0, True)
        assert found.freedom == 4
    assert (SPEEDS, SHARES, SIZES) == ((0.05, 0.01), (0.003, 0.0005), (0.0, 0.0))


@pytest.mark.parametrize("sd", [0.03, 0.08])
def test_thirty_nights_tell_what_differs_between_runs_without_what_they_explain_themselves(sd):
    found = learned(sd)
    assert np.sqrt(np.mean([one.sd**2 for one in found])) == pytest.approx(sd, rel=0.05)
    # as sure as it says: the mean square scatters as chi-square does with so many degrees of freedom
    squares = np.array([one.sd**2 for one in found])
    assert found[0].freedom == pytest.approx(24.9, abs=0.1)
    assert squares.std() / squares.mean() == pytest.approx(math.sqrt(2 / 24.9), rel=0.2)
    assert (found[0].runs, found[0].prior) == (30, False)


def test_a_few_runs_that_hardly_know_themselves_do_not_explain_the_scatter_of_all():
    """On a real host every third run knew its P95 to ±16 % and the others to ±4 %: what differs between runs came out as 0."""
    chance, found = np.random.default_rng(4), []
    for _ in range(300):
        halves = np.where(np.arange(30) % 3 == 1, 0.08, 0.01)
        values = chance.normal(0, np.hypot(0.03, halves))
        found.append(learn(past(*map(metric, np.exp(values).tolist(), halves.tolist())), P95))
    sds = np.array([one.sd for one in found])
    assert np.median(sds) == pytest.approx(0.03, rel=0.1)
    assert (np.quantile(sds, 0.05), np.quantile(sds, 0.95)) == (
        pytest.approx(0.018, abs=0.004),
        pytest.approx(0.045, abs=0.005),
    )
    assert all(8 < one.freedom < 24 for one in found), "and it is known less well than where all know themselves alike"


def _of_two_states(chance, nights):
    return 0.04 * chance.choice((-1.0, 1.0), nights) + chance.normal(0, 0.005, nights)


@pytest.mark.parametrize(
    "draw", [lambda chance, nights: chance.normal(0, 0.04, nights), _of_two_states], ids=["normal", "of two states"]
)
@pytest.mark.parametrize("nights", [3, 4, 6, 15, 30])
def test_what_is_learned_is_the_root_of_its_equation(draw, nights):
    """A search that began at the median of the squares overshot the root, where that is far below, and learned 0 of nights that
    scatter by 3 %: of every third series of three nights, and of every tenth, of any length, on a host of two states."""
    chance = np.random.default_rng(11)
    for _ in range(100):
        values, noises = draw(chance, nights), chance.uniform(1e-7, 4e-4, nights)
        variance, _ = scatter._between(list(zip(values, noises, strict=True)))
        pairs = [(i, j) for i in range(nights) for j in range(i + 1, min(nights, i + 4))]
        found = [min((values[j] - values[i]) ** 2 / (2 * variance + noises[i] + noises[j]), 9.0) for i, j in pairs]
        if variance:
            assert fmean(found) == pytest.approx(1, abs=1e-4)
        else:
            assert fmean(found) <= 1, "their own noise explains all of it"


def test_six_nights_by_hand():
    logs = (0.029, -0.038, 0.012, -0.021, 0.046, -0.028)
    found = learn(past(*[metric(math.exp(one), 1e-6) for one in logs]), P95)
    squares = [(logs[j] - logs[i]) ** 2 for i in range(6) for j in range(i + 1, min(6, i + 4))]
    freedom, weight = 24**2 / 124, 4 * (1 - 24**2 / 124 / 8)
    assert found.freedom == pytest.approx(freedom + weight)
    assert found.sd**2 == pytest.approx(
        (weight * 0.05**2 + freedom * fmean(squares) / 2) / (freedom + weight), rel=1e-4
    )


def test_the_degrees_of_freedom_are_those_of_literature_where_only_neighbours_count(monkeypatch):
    """von Neumann 1941: the mean square successive difference of n has 2(n - 1)²/(3n - 4) of them."""
    monkeypatch.setattr(scatter, "_REACH", 1)
    assert scatter._pairs.__wrapped__(15)[2] == pytest.approx(2 * 14**2 / (3 * 15 - 4))
    monkeypatch.setattr(scatter, "_REACH", 99)
    assert scatter._pairs.__wrapped__(15)[2] == pytest.approx(14), "all pairs are the sample variance"


def test_two_nights_by_hand_with_the_prior():
    # log 1.04 is .039221: its square over two .00076914, less the runs' own .02²; one degree of freedom beside 3.5 of the
    # prior's 4
    found = learn(past(metric(1.0, 0.02), metric(1.04, 0.02)), P95)
    assert found.freedom == pytest.approx(4.5)
    assert found.sd**2 == pytest.approx((3.5 * 0.05**2 + (math.log(1.04) ** 2 / 2 - 0.02**2)) / 4.5)
    assert (found.runs, found.prior) == (2, True)


def test_the_prior_fades_within_a_dozen_nights():
    chance, seen = np.random.default_rng(2), []
    for nights in range(1, 16):
        found = learn(past(*series(chance, 0.0, nights, half=0.001)), P95)
        seen.append((found.sd, found.prior))
    assert [prior for _, prior in seen] == [True] * 3 + [False] * 12
    assert seen[0][0] == 0.05 and seen[-1][0] < 0.001


def test_a_step_does_not_inflate_it_for_weeks():
    chance, ratios, plain = np.random.default_rng(3), [], []
    for _ in range(100):
        nights = series(chance, 0.03)
        moved = [one if number < 15 else metric(one.value * 1.10, 0.01) for number, one in enumerate(nights)]
        ratios.append(learn(past(*moved), P95).sd)
        plain.append(np.std([math.log(one.value) for one in moved], ddof=1))
    assert np.mean(ratios) < 0.037
    assert np.mean(plain) > 0.055, "what the deviation from the mean of all nights would say"


def test_one_night_that_is_far_off_counts_as_three_deviations_at_most():
    chance = np.random.default_rng(4)
    nights = series(chance, 0.03)
    nights[14] = metric(3.0, 0.01)
    assert learn(past(*nights), P95).sd < 0.06


def test_only_the_newest_thirty_that_count_are_read():
    chance = np.random.default_rng(5)
    newest = series(chance, 0.03)
    alone = learn(past(*newest), P95)
    assert learn(past(*series(chance, 0.3), *newest), P95) == alone
    hollow = [None if number % 2 else Measured({P95.name: metric(9.0)}, "a neighbour was loud") for number in range(9)]
    assert learn(past(*newest, *hollow), P95) == alone
    assert learn(past(*newest, metric(0.0), metric(-1.0)), P95) == alone, "no time is 0 or less"


def test_a_disturbed_host_says_nothing_of_speeds_and_all_of_recall():
    loud = [
        Measured({P95.name: metric(one), RECALL_5.name: metric(one, spec=RECALL_5)}, "loud") for one in (0.5, 0.6, 0.7)
    ]
    assert learn(past(*loud), P95).runs == 0
    assert learn(past(*loud), RECALL_5).runs == 3


def test_the_sampling_of_inputs_that_every_run_shares_explains_no_difference_between_runs():
    chance = np.random.default_rng(6)
    nights = [metric(0.9 + chance.normal(0, 0.008), 0.02, RECALL_5) for _ in range(30)]
    assert learn(past(*nights, spec=RECALL_5), RECALL_5).sd == pytest.approx(0.008, rel=0.3)
    timed = [one.model_copy(update={"shared": 0.0}) for one in nights]
    assert learn(past(*timed, spec=RECALL_5), RECALL_5).sd == 0
    seconds = [metric(float(np.exp(chance.normal(0, 0.01))), 0.03, shared=1.0) for _ in range(30)]
    assert learn(past(*seconds), P95).sd == pytest.approx(0.01, rel=0.3)


def test_the_interval_of_a_run_is_read_whether_it_was_judged_or_not():
    chance = np.random.default_rng(7)
    nights = series(chance, 0.05, half=0.03)
    judged = [
        one.model_copy(
            update={"within95": one.ci95, "ci95": (0.01, 99.0), "between": Between(sd=0.1, runs=3, prior=True)}
        )
        for one in nights
    ]
    assert learn(past(*judged), P95) == learn(past(*nights), P95)


def test_kept_indexes_that_are_rebuilt_now_and_then_are_learned_from_those_that_were():
    nights = [metric(0.93, 0.01, RECALL_5)] * 20 + [metric(0.92, 0.01, RECALL_5)] * 10
    # 6 of the 84 pairs differ by .01
    assert learn(past(*nights, spec=RECALL_5), RECALL_5).sd == pytest.approx(math.sqrt(6 / 84 * 0.01**2 / 2))


def test_what_runs_of_one_night_share_is_learned_from_nights_with_more_than_one():
    chance, shared, apart = np.random.default_rng(8), [], []
    for _ in range(60):
        hours = chance.normal(0, 0.05, 30)
        together = [tuple(metric(float(np.exp(hour + chance.normal(0, 0.02)))) for _ in range(4)) for hour in hours]
        alone = [tuple(metric(float(np.exp(chance.normal(0, 0.054)))) for _ in range(4)) for _ in hours]
        shared.append(learn(past(*together), P95).of_night)
        apart.append(learn(past(*alone), P95).of_night)
    assert np.mean(shared) == pytest.approx(0.05**2 * 0.9, rel=0.15), "a tenth of it is not believed yet"
    assert np.mean(apart) < 0.0005
    single = learn(past(*series(chance, 0.05)), P95)
    assert single.of_night == 0, "none is assumed"


def test_a_point_is_on_the_scale_of_its_metric():
    ends = point(Metric(value=2.0, unit="seconds", n=9, ci95=(1.0, 8.0)), P95)
    assert (ends.value, ends.below, ends.above) == (
        pytest.approx(math.log(2)), pytest.approx(math.log(2) / 1.959964), pytest.approx(math.log(4) / 1.959964)
    )  # fmt: skip
    share = point(Metric(value=0.9, unit="ratio", n=9, ci95=(0.8, 0.95)), RECALL_5)
    assert (share.value, share.below, share.above) == (
        0.9,
        pytest.approx(0.1 / 1.959964),
        pytest.approx(0.05 / 1.959964),
    )
    assert (ends.shared, share.shared) == (0, 1)
    assert point(Metric(value=2.0, unit="seconds", n=9, ci95=(-1.0, 8.0)), P95).below == math.inf
    assert point(Metric(value=0.0, unit="seconds", n=9), P95) is None


def test_what_a_judged_metric_states_can_be_used_again():
    nights = series(np.random.default_rng(9), 0.03, 12)
    found = learn(past(*nights), P95)
    again = known(Between(sd=found.sd, runs=12, prior=False), P95)
    assert (again.sd, again.freedom, again.least) == (found.sd, pytest.approx(found.freedom), 0.01)
    assert known(None, P95) == replace(learn(Past(), P95), freedom=np.inf), "an assumption stands as it is"
    few = Between(sd=0.07, runs=3, prior=True)
    assert (known(few, P95).freedom, known(few, P95).sd, known(few, P95).prior) == (np.inf, 0.07, True)


def test_a_host_that_was_slow_for_a_week_is_known_by_all_its_nights():
    """Neighbours are alike, and two nights of different weeks are not."""
    week = np.array([1.0, 1.01, 0.99, 1.0, 1.01, 0.99, 1.0])
    weeks = [*week, *(1.5 * week), *week, *(1.5 * week)]
    found = learn(past(*[metric(value) for value in weeks]), P95)
    assert found.sd < 0.75 * found.apart
    logs = np.log(weeks)
    assert found.apart == pytest.approx(logs.std(ddof=1), rel=0.02)
    assert found.farthest == pytest.approx(np.abs(logs - np.median(logs)).max())


def test_one_that_was_far_from_all_others_is_remembered():
    found = learn(past(*[metric(value) for value in (1.0, 1.02, 0.98, 1.0, 0.6, 1.01, 0.99, 1.0, 1.02, 0.98)]), P95)
    assert found.farthest == pytest.approx(-np.log(0.6), rel=0.01)
    nothing = learn(Past(), P95)
    assert (nothing.apart, nothing.farthest) == (0.05, 0.0)


def test_what_never_differed_scatters_by_nothing_at_all():
    found = learn(past(*[metric(4738921.0, spec=INDEX_BYTES, n=1)] * 40, spec=INDEX_BYTES), INDEX_BYTES)
    assert (found.sd, found.apart, found.farthest) == (0, 0, 0), "its logarithm is rounded"
