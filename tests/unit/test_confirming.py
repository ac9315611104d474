"""What is measured once more, when, with what, and what stays behind of it."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial

import pytest
from support.memory_store import MemoryStore
from support.specs import add
from support.street import HOST, Street, plan
from support.street import measured as with_looks

from nightgate import confirming, judged, ledger, paths, steps
from nightgate.errors import ArtifactError, Disturbed, InputError, NotMeasured, Unavailable
from nightgate.facts import Noise
from nightgate.hybrid_ann.plugin import HybridAnn
from nightgate.measure.durations import Steps
from nightgate.record import Look, utc_now
from nightgate.results import files

measured = partial(with_looks, looks=0)
BUSY = "another program kept 0.9 of 2 cores busy"
FIRST = measured(latency=0.0195)


@pytest.fixture(autouse=True)
def street(monkeypatch, tmp_path):
    """``wanted`` says of a record what is still to be confirmed; ``latencies`` are what the looks find, one after another."""
    street = Street(monkeypatch, tmp_path)
    street.latencies, street.asked, street.made = [0.011, 0.012, 0.013, *[0.014] * 9], [], []
    street.wanted = lambda record: () if record.looks else ("latency_p95",)

    def prepare(settings, device, cache):
        street.asked.append(settings)
        return {"made": len(street.asked)}

    def measure(settings, device, prepared, samples):
        street.made.append((device, prepared, samples.name))
        return [measured(name, street.latencies.pop(0), device=device) for name in settings.gated(device)]

    street.fake.prepare, street.fake.measure = prepare, measure
    street.fake.fresh = lambda step, number: street.calls.append((step, number))
    for module in (confirming, judged):
        monkeypatch.setattr(
            module, "wanted", lambda record, *_: street.wanted(record) if record.status == "measured" else ()
        )
    return street


def of_looks(street):
    """The steps, each with the number of its look."""
    return [call for call in street.calls if len(call) == 2]


def left(*records):
    files.write_records("a-run", "hybrid_ann", "cpu", records or [FIRST])


def confirm(**changes):
    return steps.confirm(plan(**changes), "hybrid_ann", "cpu", None)


def kept(variant="hybrid"):
    return next(record for record in files.read_records("a-run") if record.variant == variant)


def found(record):
    return [look.metrics["latency_p95"].value for look in record.looks]


@pytest.mark.parametrize(
    ("first", "why"),
    [
        (measured(latency=0.001), "every objective is decided"),
        (FIRST, "what is undecided is so by what all runs share, such as their queries, and another run would not tell more"),
        (measured(status="failed", reason="it crashed"), "nothing could be judged"),
    ],
)  # fmt: skip
def test_where_another_run_would_tell_nothing_none_is_made_and_that_is_said(street, first, why):
    left(first)
    street.wanted = lambda record: ()
    with pytest.raises(Unavailable, match=f"^nothing is to be confirmed of hybrid_ann on cpu: {why}$"):
        confirm()
    assert (street.calls, street.made) == ([], [])
    assert kept() == first


def test_a_look_is_a_measurement_of_its_own_without_controls_and_is_kept_beside_the_first(street):
    left(FIRST, measured("hnsw", 0.5))
    before = utc_now()
    assert confirm() == 1
    assert of_looks(street) == [("tidy", 1), ("prepare", 1), ("measure", 1)], "built anew, and nothing left to tidy"
    assert [(asked.variants, asked.controls) for asked in street.asked] == [(("hybrid",), ())]
    assert street.made == [("cpu", {"made": 1}, "hybrid_ann-cpu-confirm1.npz")]
    first = kept()
    assert first.model_copy(update={"looks": []}) == FIRST
    (look,) = first.looks
    assert look.metrics["latency_p95"] == measured(latency=0.011).metrics["latency_p95"]
    assert {"prepare_seconds", "measure_seconds"} < set(look.metrics)
    assert before <= look.started_at <= utc_now() and look.disturbed is None
    assert kept("hnsw").looks == []


def test_it_goes_on_until_nothing_is_wanted_and_three_times_at_most(street):
    left()
    street.wanted = lambda record: ("latency_p95",) if len(record.looks) < 2 else ()
    assert confirm() == 2
    assert found(kept()) == [0.011, 0.012]
    street.wanted = lambda record: ("latency_p95", "recall_at_100")
    assert confirm() == 1, "with what is there"
    assert found(kept()) == [0.011, 0.012, 0.013]
    assert [number for step, number in of_looks(street) if step == "measure"] == [1, 2, 3]
    assert [name for *_, name in street.made] == [f"hybrid_ann-cpu-confirm{number}.npz" for number in (1, 2, 3)]
    assert confirm() == 0, "it was confirmed, so this is no skip"


def test_a_look_that_is_ended_loses_none_before_it(street):
    left()
    street.wanted = lambda record: ("latency_p95",) if len(record.looks) < 2 else ()
    measure = street.fake.measure

    def ended(*given):
        if len(street.made) == 1:
            raise KeyboardInterrupt
        return measure(*given)

    street.fake.measure = ended
    with pytest.raises(KeyboardInterrupt):
        confirm()
    assert found(kept()) == [0.011]
    assert street.calls[-1] == ("tidy", "hybrid_ann", plan().settings_of("hybrid_ann"))
    assert of_looks(street)[-1] == ("tidy", 2), "what was built for this look goes away"
    street.fake.measure = measure
    assert confirm() == 1
    assert found(kept()) == [0.011, 0.012]
    killed = of_looks(street)[-3:]
    assert killed == [("tidy", 2), ("prepare", 2), ("measure", 2)], "it may have been killed, and left something"


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (Unavailable("the server is gone", "start it"), NotMeasured), (InputError("the file is gone", "put it back"), NotMeasured),
        (ArtifactError("it is torn", "fetch it"), ArtifactError), (ValueError("it broke"), ValueError),
    ],
)  # fmt: skip
@pytest.mark.parametrize("step", ["prepare", "measure"])
def test_a_look_that_fails_is_no_skip_and_says_why_in_the_record(street, monkeypatch, error, raised, step):
    left()

    def broken(*_):
        raise error

    whole = getattr(street.fake, step)
    setattr(street.fake, step, broken)
    with pytest.raises(raised) as caught:
        confirm()
    assert type(caught.value) is raised and str(caught.value) == str(error)
    assert (kept().looks, kept().facts.not_measured) == ([], {"a confirming run": str(error)})
    setattr(street.fake, step, whole)
    assert confirm() == 1
    assert kept().facts.not_measured == {}, "it is no longer so"


def changed(**facts):
    second = measured(latency=0.011, **facts)
    second.facts.inputs = {"data": "two", "queries": "same"}
    return second


def without_latency():
    second = measured()
    del second.metrics["latency_p95"]
    return second


@pytest.mark.parametrize(
    ("second", "why"),
    [
        (lambda: measured("hnsw"), "the benchmark returned no record of it"),
        (lambda: measured(status="failed", reason="it crashed"), "it crashed"),
        (lambda: measured(status="skipped"), "no reason was given"),
        (changed, "its input has changed meanwhile: data"), (without_latency, "that measurement gave no latency_p95"),
    ],
)  # fmt: skip
def test_what_says_nothing_of_the_first_is_no_look(street, second, why):
    first = measured(latency=0.0195)
    first.facts.inputs = {"data": "one", "queries": "same", "only here": "x"}
    left(first)
    street.fake.measure = lambda *_: [second()]
    with pytest.raises(NotMeasured, match=f"^hybrid_ann on cpu could not be measured once more: hybrid: {why}$"):
        confirm()
    assert (kept().looks, kept().facts.not_measured) == ([], {"a confirming run": why})


def test_the_look_of_one_variant_is_kept_when_another_fails(street):
    both = {"settings": {"variants": ["hybrid", "faiss_hnsw"]}}
    left(measured(latency=0.0195, **both), measured("faiss_hnsw", latency=0.0196, **both))
    street.fake.measure = lambda *_: [
        measured("faiss_hnsw", latency=0.012),
        measured(status="failed", reason="it crashed"),
    ]
    with pytest.raises(NotMeasured, match="hybrid: it crashed$"):
        confirm()
    assert (found(kept("faiss_hnsw")), found(kept())) == ([0.012], [])
    street.fake.measure = lambda *_: [measured(latency=0.011)]
    assert confirm() == 1
    assert (found(kept("faiss_hnsw")), found(kept())) == ([0.012], [0.011])
    assert street.calls[-1] == ("measure", 2), (
        "a number of its own, as the first of that number was another measurement"
    )


def settings(**changes):
    ours = plan()
    own = {**ours.settings["hybrid_ann"], **changes}
    return {"settings": {**ours.settings, "hybrid_ann": own}}


def test_only_the_variants_that_are_undecided_are_measured_once_more(street):
    both = settings(variants=["hybrid", "faiss_hnsw", "hnsw"], controls=[])
    left(
        measured(),
        measured("faiss_hnsw", settings=both["settings"]["hybrid_ann"]),
        measured("hnsw", settings=both["settings"]["hybrid_ann"]),
    )
    street.wanted = lambda record: ("latency_p95",) if record.variant != "hybrid" and not record.looks else ()
    assert confirm(**both) == 1
    assert [asked.variants for asked in street.asked] == [("faiss_hnsw", "hnsw")]
    assert [found(kept(name)) for name in ("hybrid", "faiss_hnsw", "hnsw")] == [[], [0.011], [0.012]]


def test_what_stands_in_for_a_variant_is_asked_for_by_its_name(street):
    both = settings(variants=["hybrid", "hnsw"], controls=[])
    left(measured("faiss_hnsw", gated=True, instead_of="hnsw"), measured())
    street.wanted = lambda record: ("latency_p95",) if record.instead_of and not record.looks else ()
    street.fake.measure = lambda settings, *_: [measured("faiss_hnsw", 0.011, instead_of=settings.variants[0])]
    assert confirm(**both) == 1
    assert [asked.variants for asked in street.asked] == [("hnsw",)]
    assert found(kept("faiss_hnsw")) == [0.011]


def test_neither_a_control_nor_what_was_not_measured_is_confirmed(street):
    left(measured(status="failed", reason="it crashed"), measured("hnsw"))
    street.wanted = lambda record: ("latency_p95",)
    with pytest.raises(Unavailable):
        confirm()


def test_what_the_benchmark_is_told_of_is_every_metric_that_is_wanted(street, monkeypatch):
    seen = []
    monkeypatch.setattr(HybridAnn, "to_confirm", lambda self, settings, metrics: seen.append(metrics) or settings)
    both = settings(variants=["hybrid", "hnsw"], controls=[])
    left(measured(), measured("hnsw", gated=True))
    street.wanted = lambda r: (
        () if r.looks else ("latency_p95",) if r.variant == "hybrid" else ("recall_at_100", "latency_p95")
    )
    confirm(**both)
    assert [sorted(metrics) for metrics in seen] == [["latency_p95", "recall_at_100"]], "each once"


def test_each_look_has_the_time_outs_of_the_plan_and_all_of_them_the_longest_of_a_step(street, monkeypatch):
    ended, now = [], [100.0]

    @contextmanager
    def ends_within(seconds):
        ended.append(seconds)
        now[0] += 6000.0
        yield

    monkeypatch.setattr(confirming, "ends_within", ends_within)
    monkeypatch.setattr(confirming.time, "monotonic", lambda: now[0])
    left()
    street.wanted = lambda record: ("latency_p95",)
    limits = {"hybrid_ann": {"cpu": Steps(5000, 6000)}}
    assert confirm(timeout_seconds=limits, dag_id=steps.BY_HAND) == 3
    assert ended == [5000, 6000] * 3
    left()
    ended.clear()
    street.latencies = [0.01] * 4
    with pytest.raises(NotMeasured, match=r"^confirming took longer than 6\.0 h$"):
        confirm(timeout_seconds=limits)
    assert ended == [5000, 6000, 5000, 3600], "the third has no time left"


def noisy(disturbed=BUSY, finished_at=None, **facts):
    record = measured(**facts)
    record.facts.noise, record.finished_at = Noise(disturbed=disturbed), finished_at or utc_now()
    return record


def test_speeds_that_a_busy_host_has_spoilt_are_tried_again_a_while_later(street, monkeypatch):
    monkeypatch.setenv("NIGHTGATE_AGAIN_AFTER", "600")
    left(noisy())
    with pytest.raises(Disturbed) as caught:
        confirm()
    assert str(caught.value) == (
        f"hybrid_ann on cpu was measured on a host that was not quiet: {BUSY}. Next step: none; 10 min later it is measured once more"
    )
    assert street.made == [] and kept().looks == []
    left(noisy(finished_at="2026-11-22T03:00:00.000Z"))
    assert confirm() == 1
    assert found(kept()) == [0.011]


@pytest.mark.parametrize(("again", "most"), [("600", 120.0), ("45", 45.0)])
def test_who_sits_there_waits_a_little_for_a_quiet_host(street, monkeypatch, again, most):
    waited = []
    monkeypatch.setattr(confirming.host, "wait_until_quiet", lambda home, seconds: waited.append((home, seconds)))
    monkeypatch.setenv("NIGHTGATE_AGAIN_AFTER", again)
    left(noisy())
    assert confirm(scheduled=False) == 1
    ((home, seconds),) = waited
    assert home == paths.home() and most - 20 < seconds <= most
    left(noisy(finished_at="2026-11-22T03:00:00.000Z"))
    assert confirm(scheduled=False) == 1 and len(waited) == 1, "a while has passed already"


def test_only_the_first_look_waits_and_only_for_speeds_that_were_spoilt(street, monkeypatch):
    monkeypatch.setenv("NIGHTGATE_AGAIN_AFTER", "600")
    street.wanted = lambda record: ("recall_at_100",) if len(record.looks) < 2 else ()
    left(noisy())
    assert confirm() == 2, "recall is the same on a busy host"
    street.wanted = lambda record: ("latency_p95",) if len(record.looks) < 3 else ()
    assert confirm() == 1, "it was tried again already"
    left(noisy(disturbed=None))
    assert confirm() == 3, "nothing was spoilt"
    left(noisy(), measured("hnsw", gated=True))
    street.wanted = lambda record: ("latency_p95",) if record.variant == "hnsw" and not record.looks else ()
    street.fake.measure = lambda *_: [measured("hnsw", 0.011)]
    assert confirm() == 1, "of another variant"


def test_what_disturbed_a_look_stands_in_it(street, monkeypatch):
    @contextmanager
    def quiet(folder, servers):
        noise = Noise()
        yield noise
        noise.disturbed = f"{BUSY} ({servers})"  # known at the end only

    monkeypatch.setattr(confirming.host, "quiet", quiet)
    left()
    confirm()
    assert [look.disturbed for look in kept().looks] == [f"{BUSY} ([])"]


def test_each_look_is_stored_as_soon_as_it_is_taken(street, monkeypatch):
    saved = []

    class Store(MemoryStore):
        made, kept = [], {}

        def save_records(self, run_id, dag_id, scale, records, *, raw, **named):
            saved.append((run_id, dag_id, scale, [len(record.looks) for record in records], named["standing"]))

    monkeypatch.setattr(ledger, "Store", Store)
    street.wanted = lambda record: ("latency_p95",) if len(record.looks) < 2 else ()
    left(FIRST, measured("hnsw"))
    steps.confirm(plan(), "hybrid_ann", "cpu", "postgresql://store")
    run = ("a-run", "nightly_benchmarks", "smoke")
    assert saved == [(*run, [0, 1], "night"), (*run, [0, 2], "night")]


def test_a_measurement_that_is_made_anew_has_no_looks_of_the_one_before(street):
    left()
    samples = files.samples_path("a-run", "hybrid_ann", "cpu", look=1)
    other = files.samples_path("a-run", "hybrid_ann", "gpu", look=1)
    for file in (samples, other):
        file.write_bytes(b"of the one before")
    steps.measure(plan(), "hybrid_ann", "cpu", steps.prepare(plan(), "hybrid_ann", "cpu"))
    assert kept().looks == []
    assert (samples.exists(), other.exists()) == (False, True)


def undecided(*looks, **noted):
    record = measured(latency=0.0195, host=HOST)
    record.looks = [Look(started_at="2026-11-22T03:00:00.000Z", metrics=look.metrics) for look in looks]
    record.facts.not_measured = noted
    return record


def verdicts(record, **changes):
    (record,) = judged.judged(plan(**changes), [record], None)
    return {o.metric: (o.verdict, o.reason) for o in record.objectives}


def test_what_was_to_be_confirmed_and_was_not_is_invalid_and_says_why(street):
    """A run that was ended before, or failed in it, must not be taken for one that merely does not tell: that is not red."""
    verdict, reason = verdicts(undecided())["latency_p95"]
    assert verdict == "invalid"
    assert reason.endswith("; it was to be measured once more: that run was ended, or never began")
    verdict, reason = verdicts(undecided(**{"a confirming run": "it crashed"}))["latency_p95"]
    assert (verdict, reason.rpartition("; ")[2]) == ("invalid", "it was to be measured once more: it crashed")


def test_what_stays_undecided_after_all_looks_or_shall_not_be_confirmed_is_so(street):
    assert verdicts(undecided(), confirm=False)["latency_p95"][0] == "inconclusive"
    street.wanted = lambda record: ()
    assert verdicts(undecided())["latency_p95"][0] == "inconclusive"
    street.wanted = lambda record: ("recall_at_100",)
    assert verdicts(undecided())["latency_p95"][0] == "inconclusive", "it is about another metric"


def test_what_is_decided_is_never_made_invalid(street):
    street.wanted = lambda record: ("recall_at_100", "latency_p95")
    assert verdicts(measured(latency=0.001))["latency_p95"][0] == "pass"


def test_the_settings_of_the_record_stay_those_of_its_first_measurement(street):
    first = measured(latency=0.0195)
    add(first, "qps", 500.0, 100)
    left(first)
    confirm()
    assert kept().settings == first.settings and kept().metrics == first.metrics
    assert paths.run_dir("a-run").exists()


def test_what_a_look_had_built_when_it_was_killed_goes_away_with_the_report(street, monkeypatch):
    monkeypatch.setattr(steps, "render_report", lambda *_: "")
    left(undecided(FIRST, FIRST))
    street.wanted = lambda record: ("latency_p95",)
    assert steps.report(plan(), None).state == "invalid"
    assert of_looks(street) == [("tidy", 3)]
    street.calls.clear()
    street.wanted = lambda record: ()
    left(undecided(FIRST, FIRST))
    assert steps.report(plan(), None).state == "inconclusive"
    assert street.calls == []
