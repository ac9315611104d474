"""A record that is filled step by step: the first step that fails is the last."""

from __future__ import annotations

import logging

import pytest
from support.specs import add

from nightgate.errors import ChildError, Unavailable
from nightgate.measure.attempts import Attempts, turns
from nightgate.record import Record


@pytest.fixture
def attempts():
    return Attempts(Record(benchmark="hybrid_ann", variant="hnsw", device="cpu", status="measured"))


def test_steps_are_made_in_turn_until_one_fails(attempts, caplog):
    made = []

    def good(of):
        made.append(of)

    def bad(of):
        made.append("bad")
        raise ChildError("it crashed", "look")

    for step in (good, good, bad, good):
        attempts.attempt(step)
    assert made == [attempts, attempts, "bad"]
    assert (attempts.record.status, attempts.record.reason) == ("failed", "it crashed. Next step: look")
    assert [(line.levelno, line.message) for line in caplog.records] == [
        (logging.ERROR, "hnsw: it crashed. Next step: look")
    ]


def test_what_went_well_stays_measured(attempts):
    attempts.attempt(lambda of: add(of.record, "recall_at_100", 0.93))
    assert (attempts.record.status, attempts.record.reason) == ("measured", None)
    assert attempts.record.metrics["recall_at_100"].value == 0.93
    assert attempts.variant == "hnsw"


def test_an_error_that_nobody_foresaw_fails_this_variant_alone(attempts):
    attempts.attempt(lambda of: 1 / 0)
    assert (attempts.record.status, attempts.record.reason) == ("failed", "ZeroDivisionError: division by zero")
    with pytest.raises(KeyboardInterrupt):
        another = type(attempts)(attempts.record.model_copy(update={"status": "measured"}))
        another.attempt(lambda of: (_ for _ in ()).throw(KeyboardInterrupt))


def test_a_record_that_was_skipped_is_left_as_it_is(attempts):
    attempts.record.status, attempts.record.reason = "skipped", "no device"
    attempts.attempt(lambda of: pytest.fail("tried"))
    assert (attempts.record.status, attempts.record.reason) == ("skipped", "no device")
    attempts.record.status = "measured"
    attempts.attempt(lambda of: (_ for _ in ()).throw(Unavailable("gone")))
    assert attempts.record.reason == "gone"


@pytest.mark.parametrize(
    ("error", "said"),
    [(ChildError("it crashed", "look"), "it crashed. Next step: look"), (KeyError("x"), "KeyError: 'x'")],
)
def test_a_step_beside_the_others_takes_nothing_with_it(attempts, error, said):
    def bad(of):
        raise error

    add(attempts.record, "recall_at_100", 0.93)
    attempts.beside("batch", bad)
    attempts.beside("more", lambda of: add(of.record, "latency_p95", 0.2))
    assert (attempts.record.status, attempts.record.reason) == ("measured", None)
    assert attempts.record.facts.not_measured == {"batch": said}
    assert attempts.record.metrics.keys() == {"recall_at_100", "latency_p95"}
    attempts.fail("broken")
    attempts.beside("another", lambda of: pytest.fail("tried"))
    assert attempts.record.facts.not_measured == {"batch": said}


def test_whose_turn_it_is():
    assert list(turns("abc", 3)) == [
        (0, "a"), (0, "b"), (0, "c"), (1, "c"), (1, "b"), (1, "a"), (2, "a"), (2, "b"), (2, "c"),
    ]  # fmt: skip
