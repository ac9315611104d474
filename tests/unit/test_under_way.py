"""What is said of the steps at work, and how long a run still takes."""

from __future__ import annotations

import pytest

from nightgate.progress import Progress
from nightgate.record import Record
from nightgate.results.store import Run
from nightgate.results.under_way import AtWork, left_of, left_text

NIGHT = (
    ("hybrid_ann", "cpu", 30.0, 50.0),
    ("transcription", "cpu", 20.0, 70.0),
    ("pgvector_search", "cpu", 40.0, 90.0),
)


def at_work(benchmark="hybrid_ann", step="measure", seconds=10.0, expected=50.0, silent=0.0, stage="process 1 of 2"):
    return AtWork("run", benchmark, "cpu", step, "host", Progress(stage, seconds, expected), NIGHT, silent)


def run(*measured):
    records = [Record(benchmark=name, variant="v", device="cpu", status="measured", settings={}) for name in measured]
    return Run("run", "dag", "smoke", None, None, None, records)


@pytest.mark.parametrize(
    ("progress", "text"),
    [
        (Progress("", 10.0, 50.0), "about 40 s left"), (Progress("", 60.0, 50.0), "longer than the 50 s that it was expected to take"),
        (Progress("", 61.0, None), "for 61 s so far"),
    ],
)  # fmt: skip
def test_how_long_a_step_still_takes(progress, text):
    assert left_text(progress) == text


def test_what_a_step_is_at_by_now():
    assert at_work().words == "process 1 of 2; about 40 s left"
    assert at_work(silent=25.0).words == "process 1 of 2; about 15 s left"
    assert at_work(stage="").words == "about 40 s left"
    assert at_work(silent=200.0).words == "nothing was heard of it for 3 min"
    assert at_work().task_id == "hybrid_ann.cpu.measure"


def test_a_run_takes_as_long_as_what_measures_and_what_is_still_to_be_measured():
    assert left_of(run(), [at_work()]) == 40.0 + 70.0 + 90.0
    assert left_of(run("transcription"), [at_work(silent=5.0)]) == 35.0 + 90.0
    beside = [at_work(), at_work("transcription", "prepare", 5.0, 20.0)]
    assert left_of(run(), beside) == 40.0 + 70.0 + 90.0, (
        "what is prepared beside a measurement takes no time of its own"
    )


def test_while_nothing_measures_the_longest_that_is_prepared_counts_too():
    both = [at_work(step="prepare", expected=30.0), at_work("transcription", "prepare", 5.0, 20.0)]
    assert left_of(run(), both) == 50.0 + 70.0 + 90.0 + 20.0


def test_nobody_knows_of_a_run_that_is_silent_or_has_not_begun():
    assert left_of(run(), []) is None
    assert left_of(run(), [at_work(), at_work("transcription", silent=181.0)]) is None
