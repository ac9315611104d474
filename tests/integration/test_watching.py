"""The watch over nights of a real store; only what would be measured beside the control is given."""

from __future__ import annotations

import random
from contextlib import suppress

import pytest
from support.nights import HOST, metric, record, summary

from nightgate import telling, watching
from nightgate.duet.measuring import Duet, Round
from nightgate.environments.lock import Lock
from nightgate.errors import InputError, NotMeasured, ServiceUnavailable, Unavailable
from nightgate.measure import host
from nightgate.results import alerts, notes
from nightgate.results.alerts import Said
from nightgate.results.beside import SeriesKey
from nightgate.results.noted import Scope
from nightgate.suite import Watch

WATCH = Watch()
P50, KEY = "latency_p50_fast", SeriesKey("hybrid_ann", "hybrid", "cpu", "latency_p50_fast")
GOOD = Lock(python="3.11.7", packages={"faiss-cpu": "1.0", "numpy": "2.0"}, code="c1", version="0.1.0", revision="r1")
BAD = GOOD.model_copy(update={"packages": {"faiss-cpu": "1.1", "numpy": "2.0"}})
SECONDS = 0.000150


def night(number, factor=1.0, lock=GOOD, **more):
    chance = random.Random(number)
    one = record(number, **more)
    one.metrics = {P50: metric(SECONDS * factor * (1 + chance.gauss(0, 0.012))), "recall_at_100": metric(0.95, "ratio")}
    one.objectives = []
    one.facts.provenance.environment = lock.digest
    one.facts.provenance.versions = {"faiss-cpu": lock.packages["faiss-cpu"]}
    return one


@pytest.fixture
def kept(store, monkeypatch, tmp_path):
    """A store with fifteen quiet nights; ``keep`` adds one."""
    monkeypatch.setenv("NIGHTGATE_HOME", str(tmp_path))
    monkeypatch.setattr(host, "describe", lambda: HOST)

    def keep(number, factor=1.0, lock=GOOD, **more):
        one = night(number, factor, lock, **more)
        run = summary(number, one)
        store.save_records(run.run_id, run.dag_id, run.scale, [one], standing="night", environment=lock)
        store.save_summary(run)
        return run.run_id

    for number in range(15):
        keep(number)
    store.keep = keep
    return store


@pytest.fixture
def beside(monkeypatch):
    """What is measured beside the control: ``tonight`` and ``control`` as factors of the usual; it notes what was asked."""

    class Beside:
        tonight, control, error, asked = 1.0, 1.0, None, []

        def duet(self, first, second, task, rounds):
            self.asked.append((first, second, task.metrics, rounds))
            if self.error:
                raise self.error
            chance = random.Random(5)

            def side(factor):
                return {"hybrid": {P50: SECONDS * factor * (1 + chance.gauss(0, 0.01)), "recall_at_100": 0.95}}

            return Duet([Round(side(self.control), side(self.tonight), {"hybrid": True}) for _ in range(rounds)])

    made = Beside()
    made.asked = []
    monkeypatch.setattr(watching, "duet", made.duet)
    monkeypatch.setattr(watching, "interpreter", lambda cache, home, lock: lock)
    return made


def watched(store, run_id):
    """The whole watch over one night; the news of it, told."""
    with suppress(Unavailable):
        watching.confirm(store, run_id, WATCH, "hybrid_ann", "cpu")
    looked = watching.look(store, run_id, WATCH)
    news = telling.of_watch(store, looked)
    alerts.told(store, news)
    return looked, news


def test_a_quiet_night_shows_nothing_and_measures_nothing(kept, beside):
    looked, news = watched(kept, kept.keep(15))
    assert looked.replayed.tonight == [] and news == [] and beside.asked == []
    assert {key.metric for key in looked.followed} == {P50, "recall_at_100"}
    assert looked.replayed.nights == 16


def test_a_regression_is_told_the_same_night_with_its_cause_and_once(kept, beside):
    beside.tonight = 1.1
    run_id = kept.keep(15, 1.1, BAD)
    _, news = watched(kept, run_id)
    ((first, second, metrics, rounds),) = beside.asked
    assert (first, second, metrics, rounds) == (GOOD, BAD, (P50,), 3)
    (one,) = news
    assert (one.kind, one.over, one.run_id) == ("regression", False, run_id)
    assert one.said.causes[0] == "faiss-cpu 1.0 → 1.1 (measured with it), in the same night"
    assert one.said.sentence.startswith("Hybrid ANN, hybrid on cpu: P50 latency at full speed is ")
    assert f"({run_id})" in one.said.sentence and "worse than its control" in one.said.sentence
    assert one.said.ratio == pytest.approx(1.1, abs=0.02)
    assert watched(kept, run_id)[1] == [], "a retry tells nobody again"
    assert watched(kept, kept.keep(16, 1.1, BAD))[1] == [], "nor does the next night"
    assert len(beside.asked) == 1
    assert [(kind, run) for kind, _, run, _ in alerts.holding(kept, "nightly")] == [("regression", run_id)]


def test_its_end_is_told_once(kept, beside):
    beside.tonight = 1.1
    watched(kept, kept.keep(15, 1.1, BAD))
    assert watched(kept, kept.keep(16))[1] == []
    run_id = kept.keep(17)
    (one,) = watched(kept, run_id)[1]
    assert (one.kind, one.over, one.run_id) == ("regression", True, run_id)
    assert watched(kept, kept.keep(18))[1] == []
    assert alerts.holding(kept, "nightly") == []


def test_a_slow_host_is_no_regression(kept, beside):
    beside.tonight = beside.control = 1.12
    looked, news = watched(kept, kept.keep(15, 1.12))
    assert news == []
    (one,) = looked.replayed.tonight
    assert one.answer.host
    assert "so does its control: it is the host" in telling.outcome(one)


def test_a_night_of_the_host_dates_no_shift(kept, beside):
    beside.tonight = beside.control = 1.12
    assert watched(kept, kept.keep(15, 1.12))[1] == []
    beside.tonight, beside.control = 1.1, 1.0
    run_id = kept.keep(16, 1.1, BAD)
    (one,) = watched(kept, run_id)[1]
    assert one.said.since == run_id
    assert one.said.causes[0].endswith("in the same night")


def test_what_went_away_is_not_confirmed(kept, beside):
    looked, news = watched(kept, kept.keep(15, 1.1))
    assert news == []
    assert "is not confirmed" in telling.outcome(looked.replayed.tonight[0])


def test_without_a_control_nothing_is_alarmed_and_the_reason_is_kept(kept, beside):
    beside.error = NotMeasured("pip cannot install faiss-cpu==1.0")
    run_id = kept.keep(15, 1.1, BAD)
    looked, news = watched(kept, run_id)
    assert news == []
    assert looked.measured[run_id, KEY].why_not == "pip cannot install faiss-cpu==1.0"
    assert telling.outcomes(looked)[0].endswith(
        "was not measured beside its control: pip cannot install faiss-cpu==1.0."
    )


def test_an_accepted_baseline_brings_its_own_control(kept, beside):
    beside.tonight = 1.1
    bad = kept.keep(15, 1.1, BAD)
    watched(kept, bad)
    notes.say(kept, "accepted", Scope(bad), "it is worth it", "me")
    for number in range(16, 29):
        assert watched(kept, kept.keep(number, 1.1, BAD))[1] == []
    assert alerts.holding(kept, "nightly") == [], "what was accepted is wrong no longer"
    beside.asked.clear()
    beside.tonight = 1.21
    worse = GOOD.model_copy(update={"code": "c2"})
    (one,) = watched(kept, kept.keep(29, 1.21, worse))[1]
    assert beside.asked[0][:2] == (BAD, worse)
    assert any("the project's code" in cause for cause in one.said.causes)


def test_an_excluded_night_leaves_no_trace(kept, beside):
    wild = kept.keep(15, 1.5)
    notes.say(kept, "excluded", Scope(wild), "a backup ran", "me")
    looked, _ = watched(kept, kept.keep(16))
    assert looked.replayed.nights == 16
    assert all(found.run_id != wild for found in looked.replayed.tonight)


def test_disturbed_nights_say_nothing_of_speeds(kept, beside):
    looked, news = watched(kept, kept.keep(15, 1.3, disturbed="a backup"))
    assert looked.replayed.tonight == [] and news == []


def test_only_nights_are_watched_and_only_where_they_were_measured(kept, beside, monkeypatch):
    with pytest.raises(InputError, match="no judged run 'night-999'"):
        watching.look(kept, "night-999", WATCH)
    by_hand = summary(20, night(20), scheduled=False, overrides={"hybrid_ann.rows": 5}, name="hand")
    kept.save_summary(by_hand)
    with pytest.raises(Unavailable, match="is an ad-hoc run"):
        watching.look(kept, by_hand.run_id, WATCH)
    run_id = kept.keep(15, 1.1, BAD)
    monkeypatch.setattr(host, "describe", lambda: HOST.model_copy(update={"fingerprint": "another"}))
    with pytest.raises(ServiceUnavailable, match="another kind of machine"):
        watching.confirm(kept, run_id, WATCH, "hybrid_ann", "cpu")


def judged(verdict, nights=1, number=15):
    one = record(number, 0.021, verdict=verdict)
    one.objectives = [one.objectives[0].model_copy(update={"nights": nights})]
    return summary(number, one, state=verdict)


def news_of(store, run):
    store.save_summary(run)
    found = telling.of_night(store, run)
    alerts.told(store, found)
    return [(one.kind, one.over, one.run_id) for one in found]


def test_a_breach_is_told_once_and_its_end_once(kept):
    assert news_of(kept, judged("breach", number=15)) == [("breach", False, "night-015")]
    assert news_of(kept, judged("breach", number=16)) == []
    assert news_of(kept, judged("inconclusive", number=17)) == []
    assert news_of(kept, judged("pass", number=18)) == [("breach", True, "night-018")]
    assert news_of(kept, judged("pass", number=19)) == []
    assert news_of(kept, judged("breach", number=20)) == [("breach", False, "night-020")]


def test_what_is_undecided_is_told_after_three_nights_and_once(kept):
    told = [news_of(kept, judged("inconclusive", nights=count, number=14 + count)) for count in range(1, 6)]
    assert told == [[], [], [("undecided", False, "night-017")], [], []]
    assert news_of(kept, judged("pass", number=25)) == [], "it never was wrong"


def test_what_nobody_could_send_is_news_until_it_is_told(kept):
    run = judged("breach")
    kept.save_summary(run)
    assert len(telling.of_night(kept, run)) == 1
    assert len(telling.of_night(kept, run)) == 1
    alerts.told(kept, telling.of_night(kept, run))
    assert telling.of_night(kept, run) == []


def test_what_was_over_before_anybody_was_told_is_no_news(kept):
    kept.save_summary(judged("breach", number=15))
    telling.of_night(kept, judged("breach", number=15))
    assert news_of(kept, judged("pass", number=16)) == []


def test_runs_that_do_not_count_tell_nothing(kept):
    by_hand = judged("breach").model_copy(
        update={"scheduled": False, "overrides": {"hybrid_ann.rows": 5}, "run_id": "hand"}
    )
    assert news_of(kept, by_hand) == []


def test_another_scale_ends_no_breach(kept):
    assert news_of(kept, judged("breach", number=15)) == [("breach", False, "night-015")]
    full = judged("pass", number=16).model_copy(update={"scale": "full"})
    assert news_of(kept, full) == []
    assert news_of(kept, judged("pass", number=17)) == [("breach", True, "night-017")]


def test_a_night_that_is_looked_at_again_neither_tells_twice_nor_ends_what_came_later(kept):
    first, good = judged("breach", number=15), judged("pass", number=16)
    assert news_of(kept, first) == [("breach", False, "night-015")]
    assert news_of(kept, good) == [("breach", True, "night-016")]
    assert news_of(kept, judged("breach", number=17)) == [("breach", False, "night-017")]
    assert news_of(kept, good) == []
    assert news_of(kept, judged("pass", number=18)) == [("breach", True, "night-018")]
    assert news_of(kept, first) == []


def test_who_was_told_stands_in_the_store_until_all_were(kept):
    run_id = kept.keep(15)
    alerts.begin(kept, "nightly", run_id, "breach", {"a": Said(sentence="a."), "b": Said(sentence="b.")})
    first, second = alerts.news(kept, "nightly")
    alerts.told_by(kept, "mail", [first])
    alerts.told_by(kept, "webhook", [first, second])
    assert [one.told_by for one in alerts.news(kept, "nightly")] == [("mail", "webhook"), ("webhook",)]
    alerts.told(kept, [first])
    alerts.end(kept, "nightly", "another", ["breach"], ["a"])
    assert [(one.id, one.over, one.told_by) for one in alerts.news(kept, "nightly")] == [
        (second.id, False, ("webhook",)), (first.id, True, ()),
    ], "of its end nobody was told"  # fmt: skip
    alerts.told_by(kept, "mail", [one for one in alerts.news(kept, "nightly") if one.over])
    assert alerts.news(kept, "nightly")[1].told_by == ("mail",)
