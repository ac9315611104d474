"""What the rounds of a duet say, which change it is, and how sides give way to each other."""

from __future__ import annotations

import math
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import pytest
from scipy.stats import t

from nightgate import paths, registry
from nightgate.duet import bisecting, measuring, side
from nightgate.duet.measuring import Duet, Round
from nightgate.duet.ratio import ratio
from nightgate.duet.sides import side_of
from nightgate.environments import lock
from nightgate.errors import InputError, NotMeasured
from nightgate.measure.glancing import glance
from nightgate.metrics import MetricSpec

P50 = MetricSpec("p50", "seconds", "P50")
RECALL = MetricSpec("recall", "ratio", "Recall", "higher", share=True)


def test_a_ratio_is_of_the_second_over_the_first_with_students_interval():
    found = ratio([1.0, 1.1, 0.9, 1.05], [1.2, 1.33, 1.07, 1.26], P50)
    logs = [math.log(b / a) for a, b in zip([1.0, 1.1, 0.9, 1.05], [1.2, 1.33, 1.07, 1.26], strict=True)]
    mean = sum(logs) / 4
    error = math.sqrt(sum((one - mean) ** 2 for one in logs) / 3 / 4)
    assert found.value == pytest.approx(math.exp(mean))
    assert (found.low, found.high) == pytest.approx(
        (math.exp(mean - t.ppf(0.975, 3) * error), math.exp(mean + t.ppf(0.975, 3) * error)), rel=1e-9
    )
    assert found.differs and (found.metric, found.logarithmic, found.rounds, found.none) == ("p50", True, 4, 1.0)
    alike = ratio([1.0, 1.1, 0.9], [1.01, 1.08, 0.91], P50)
    assert not alike.differs and alike.low < 1 < alike.high
    with pytest.raises(ValueError, match="shorter"):
        ratio([1.0, 1.1, 0.9, 1.0], [1.0, 1.1, 0.9], P50)


def test_shares_are_compared_by_their_difference():
    found = ratio([0.95, 0.94, 0.96], [0.93, 0.925, 0.935], RECALL)
    assert found.value == pytest.approx(-0.02)
    assert found.none == 0.0 and found.differs and not found.logarithmic
    assert ratio([0.0, 0.0, 0.1], [0.0, 0.1, 0.0], RECALL).value == pytest.approx(0.0), "a share may be nothing"


def test_two_rounds_or_a_time_of_nothing_tell_no_ratio():
    assert ratio([1.0, 1.1], [1.2, 1.3], P50) is None
    assert ratio([1.0, 1.1, 0.0], [1.2, 1.3, 1.1], P50) is None


def test_disturbed_rounds_and_what_one_side_lacks_do_not_count():
    rounds = [
        Round({"a": {"p50": 1.0}}, {"a": {"p50": 1.1}}, {"a": True}),
        Round({"a": {"p50": 9.0}}, {"a": {"p50": 9.1}}, {"a": True}, disturbed="busy"),
        Round({"a": {"p50": 1.2}}, {"a": {}}, {"a": True}),
        Round({"a": {"p50": 1.3}}, {"a": {"p50": 1.4}}, {"a": False}),
    ]
    duet = Duet(rounds)
    assert duet.of("a", "p50") == ([1.0, 1.3], [1.1, 1.4])
    assert not duet.same_builds("a")
    assert duet.disturbed == ["busy"]


CHANGES = {name: ("1", "2") for name in ("alpha", "beta", "gamma", "delta", "epsilon")}


def measure_of(culprit, effect=0.1, fails=(), noise=(0.001, -0.002, 0.0015)):
    made = []

    def measure(names):
        made.append(names)
        if names in fails:
            raise NotMeasured("it cannot be imported")
        return [(effect if culprit in names else 0.0) + one for one in noise]

    measure.made = made
    return measure


@pytest.mark.parametrize("culprit", CHANGES)
@pytest.mark.parametrize("effect", [0.1, -0.1])
def test_the_change_is_found_in_six_duets_at_most(tmp_path, culprit, effect):
    measure = measure_of(culprit, effect)
    verdict, search = bisecting.bisect(tmp_path / "b.json", "p50", CHANGES, measure)
    assert (verdict.kind, verdict.names) == ("found", (culprit,))
    assert verdict.share == pytest.approx(1.0, abs=0.05)
    assert verdict.whole == pytest.approx(effect, abs=0.002)
    assert 0.95 < verdict.sure <= 1
    assert len(measure.made) == len(search.tried) <= 6
    assert len(set(measure.made)) == len(measure.made)


def test_a_search_that_is_killed_goes_on(tmp_path):
    file, measure = tmp_path / "b.json", measure_of("delta")

    def killed(names):
        if len(measure.made) == 2:
            raise KeyboardInterrupt
        return measure(names)

    with pytest.raises(KeyboardInterrupt):
        bisecting.bisect(file, "p50", CHANGES, killed)
    before = list(measure.made)
    verdict, search = bisecting.bisect(file, "p50", CHANGES, measure)
    assert verdict.names == ("delta",)
    assert len(measure.made) == len(set(measure.made)) == len(search.tried)
    assert measure.made[:2] == before


def test_a_search_of_other_changes_begins_anew(tmp_path):
    file = tmp_path / "b.json"
    bisecting.bisect(file, "p50", CHANGES, measure_of("beta"))
    verdict, _ = bisecting.bisect(file, "p50", CHANGES | {"zeta": ("1", "2")}, measure_of("zeta"))
    assert verdict.names == ("zeta",)


def test_nothing_to_find_is_said(tmp_path):
    verdict, search = bisecting.bisect(tmp_path / "b.json", "p50", CHANGES, measure_of("nobody"))
    assert verdict.kind == "nothing"
    assert len(search.tried) == 1


def test_what_cannot_be_measured_alone_is_told_with_what_it_is_inseparable_from(tmp_path):
    fails = {("alpha", "beta", "gamma")}
    verdict, _ = bisecting.bisect(tmp_path / "b.json", "p50", CHANGES, measure_of("gamma", fails=fails))
    assert (verdict.kind, verdict.names) == ("inseparable", ("gamma", "delta"))
    assert verdict.reason == "it cannot be imported"


def test_both_ends_must_be_measured(tmp_path):
    with pytest.raises(InputError, match="the two ends cannot be measured: it cannot be imported"):
        bisecting.bisect(tmp_path / "b.json", "p50", CHANGES, measure_of("x", fails={tuple(CHANGES)}))
    with pytest.raises(InputError, match="nothing that was installed changed"):
        bisecting.bisect(tmp_path / "c.json", "p50", {}, measure_of("x"))


def test_a_change_that_works_only_with_others_has_a_small_share(tmp_path):
    def measure(names):
        both = {"beta", "delta"} <= set(names)
        return [(0.1 if both else 0.0) + one for one in (0.001, -0.002, 0.0015)]

    verdict, _ = bisecting.bisect(tmp_path / "b.json", "p50", CHANGES, measure)
    assert verdict.names == ("delta",)
    assert verdict.share == pytest.approx(0.0, abs=0.02)


def test_a_side_gives_way_whenever_it_rests():
    said = []

    def work():
        for number in range(3):
            said.append(number)
            glance()
        return "done"

    going = side._resting(work)
    for rest in range(3):
        next(going)
        assert said == list(range(rest + 1)), "it waits until it is told to go on"
    with pytest.raises(StopIteration) as end:
        next(going)
    assert end.value.value == "done"


def test_what_fails_in_a_side_is_an_error_of_ours():
    def work():
        glance()
        raise ZeroDivisionError("nothing to divide by")

    going = side._resting(work)
    next(going)
    with pytest.raises(NotMeasured, match="ZeroDivisionError: nothing to divide by"):
        next(going)


def test_a_side_is_timed_in_short_turns_as_the_request_says(tmp_path):
    request = {
        "benchmark": "hybrid_ann", "settings": {"variants": ["hybrid"]}, "metrics": ["latency_p50"], "looked": {"rows": 3000, "dim": 8},
        "services": {"a": "b"}, "cache": str(tmp_path / "cache"), "samples": str(tmp_path / "s.npz"), "device": "cpu",
    }  # fmt: skip
    known, settings, context = side._asked(request)
    assert (known.name, settings.variants, settings.load_seconds) == ("hybrid_ann", ("hybrid",), 0.0)
    assert (context.in_turns, context.device, context.services) == (True, "cpu", {"a": "b"})
    assert (context.samples, context.fresh) == (tmp_path / "s.npz", 0)


def test_a_setting_that_a_side_does_not_know_is_refused():
    request = {"benchmark": "hybrid_ann", "settings": {"variants": ["hybrid"], "warp": 9}}
    with pytest.raises(NotMeasured, match="does not know the settings warp of hybrid_ann"):
        next(side.measured(request))


def test_the_sides_of_the_command_line(tmp_path, monkeypatch):
    monkeypatch.setenv("NIGHTGATE_HOME", str(tmp_path))
    monkeypatch.setattr(paths, "checkout", lambda: Path(__file__).resolve().parents[2])
    assert side_of(".", lambda run: pytest.fail("it names no run")) is None
    with pytest.raises(InputError, match="'numpy=2' is not package==version"):
        side_of("usearch==2.1, numpy=2", lambda run: pytest.fail("it names no run"))
    with pytest.raises(InputError, match="has no revision 'no-such-thing'"):
        side_of("rev:no-such-thing", lambda run: pytest.fail("it names no run"))
    asked = []

    def of_run(run):
        asked.append(run)
        raise InputError("there is no such run")

    with pytest.raises(InputError, match="no such run"):
        side_of("a-run", of_run)
    assert asked == ["a-run"]


def test_an_environment_is_told_by_all_that_is_imported():
    here = lock.here()
    assert here.packages["numpy"] == version("numpy")
    assert not [name for name in here.packages if name in ("pip", "pytest") or name.startswith("apache-airflow")]
    other = here.model_copy(update={"packages": {**here.packages, "numpy": "0.1"}})
    assert here.digest != other.digest != here.model_copy(update={"code": "0"}).digest
    assert here.digest == here.model_copy(update={"revision": "another"}).digest
    assert lock.differing(here, other) == {"numpy": (version("numpy"), "0.1")}
    gone = here.model_copy(update={"packages": {k: v for k, v in here.packages.items() if k != "numpy"}, "code": "abc"})
    assert lock.differing(here, gone)["numpy"] == (version("numpy"), None)
    assert lock.differing(here, gone)["nightgate"][1].endswith("code abc)")


def test_requirements_of_extras_nobody_asked_for_are_no_part_of_it(monkeypatch):
    def made(name, requires, extras=()):
        metadata = SimpleNamespace(get_all=lambda key: list(extras))
        return SimpleNamespace(name=name, version="1", requires=requires, metadata=metadata)

    known = {
        "nightgate": made("nightgate", ["lib[fast]", 'chosen; extra == "own"', "Apache-Airflow[x]==3"], ["own"]),
        "lib": made("lib", ['speed; extra == "fast"', 'tests; extra == "test"', "deep"]),
        "speed": made("speed", []), "tests": made("tests", []), "deep": made("deep", None), "chosen": made("chosen", []),
        "apache-airflow": made("apache-airflow", ["deeper"]), "deeper": made("deeper", []),
    }  # fmt: skip
    monkeypatch.setattr(lock, "distribution", known.__getitem__)
    monkeypatch.setattr(lock, "entry_points", lambda group: [])
    assert set(lock.closure.__wrapped__()) == {"lib", "speed", "deep", "chosen"}


def test_how_probable_it_is_that_a_ratio_lies_beyond_follows_students_t():
    tried = bisecting.Tried(names=("a",), ratios=(0.10, 0.12, 0.115))
    # mean .111667, error .0060093, two degrees of freedom: t = 1.9414 for the limit .1
    assert tried.beyond(0.1) == pytest.approx(0.90415, abs=2e-4)
    assert tried.beyond(tried.mean) == pytest.approx(0.5)
    same = bisecting.Tried(names=("a",), ratios=(0.1, 0.1))
    assert (same.beyond(0.05), same.beyond(0.2)) == (1.0, 0.0)


def test_how_sure_it_is_is_the_product_of_the_steps(tmp_path):
    verdict, search = bisecting.bisect(
        tmp_path / "b.json", "p50", CHANGES, measure_of("beta", 0.02, noise=(0.004, -0.006, 0.003))
    )
    half = verdict.whole / 2
    sure = 1.0
    for one in search.tried[1:]:
        beyond = one.beyond(half)
        sure *= max(beyond, 1 - beyond)
    assert verdict.sure == pytest.approx(sure)
    assert verdict.sure < 0.99


def test_where_the_middle_cannot_be_measured_the_nearest_place_is(tmp_path):
    changes = {name: ("1", "2") for name in "abcdefg"}
    measure = measure_of("b", fails={("a", "b", "c"), ("a", "b", "c", "d")})
    verdict, search = bisecting.bisect(tmp_path / "b.json", "p50", changes, measure)
    assert verdict.names == ("b",)
    assert [len(one.names) for one in search.tried] == [7, 3, 4, 2, 1, 1]


def test_what_is_not_sure_enough_is_nothing(tmp_path):
    # mean .0403, t = 4.19 of two degrees of freedom: 97.4 %
    verdict, _ = bisecting.bisect(
        tmp_path / "b.json", "p50", CHANGES, lambda names: [0.04 + one for one in (0.0165, -0.0165, 0.001)]
    )
    assert verdict.kind == "nothing"
    assert 0.95 < verdict.sure < 0.975


def test_a_setting_that_nobody_knows_hides_no_reason(tmp_path, monkeypatch):
    """What both sides used is removed at the end, also where a side has refused the settings."""
    monkeypatch.setenv("NIGHTGATE_HOME", str(tmp_path))
    tidied = []
    known = registry.named("pgvector_search")
    monkeypatch.setattr(
        type(known), "tidy", lambda self, settings, context: tidied.append((settings.rows, dict(context.services)))
    )

    def refused(*asked):
        raise NotMeasured("this version does not know the settings warp")

    monkeypatch.setattr(measuring, "_duet", refused)
    task = measuring.Task(
        "pgvector_search",
        "cpu",
        {"variants": ["ivfflat"], "rows": 3000, "warp": 9},
        ("latency_p50",),
        services={"pgvector": "url"},
    )
    with pytest.raises(NotMeasured, match="warp"):
        measuring.duet(None, None, task, 3)
    assert tidied == [(3000, {"pgvector": "url"})]
