"""An engine that fails leaves the others and says why, without an engine: the child process is replaced."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from support import gone
from support.scripted_engines import BOTH, GOOD, NEW, OLD
from support.speech import measure

from nightgate.errors import ChildError, NotMeasured
from nightgate.measure.turns import Ask
from nightgate.transcription import turning
from nightgate.transcription.timed import one_by_one

TESTS = Path(__file__).resolve().parents[2]


def test_a_clip_without_text_counts_with_its_words_and_takes_nothing_with_it(prepared, tmp_path, child):
    child({OLD: ["red green blue", "", *GOOD[2:]], NEW: GOOD})
    first, second = measure(BOTH, prepared, tmp_path / "s.npz")
    assert (first.status, second.status) == ("measured", "measured")
    assert first.metrics["wer"].value == pytest.approx(3 / 15)
    assert second.metrics["wer"].value == pytest.approx(1 / 15)
    assert first.detail["heard_nothing_in"] == ["clip-2"]
    assert "heard_nothing_in" not in second.detail


def test_an_engine_that_hears_nothing_at_all_fails_alone(prepared, tmp_path, child):
    child({OLD: [""] * 5, NEW: GOOD})
    bad, fine = measure(BOTH, prepared, tmp_path / "s.npz")
    assert (bad.status, bad.metrics) == ("failed", {})
    assert "returned no text for any of the 5 clips" in bad.reason
    assert fine.status == "measured"


@pytest.mark.parametrize("error", [ChildError("was ended by SIGABRT"), NotMeasured("no memory")])
def test_batches_that_fail_leave_the_numbers_of_one_by_one(prepared, tmp_path, child, error):
    child({OLD: GOOD, NEW: GOOD}, batches={OLD: error, NEW: GOOD})
    first, second = measure(BOTH, prepared, tmp_path / "s.npz")
    assert (first.status, first.reason) == ("measured", None)
    assert first.metrics["wer"].value == pytest.approx(1 / 15)
    assert first.facts.not_measured == {"batch": error.what}
    assert "batch_xrt" not in first.metrics
    assert "batch_xrt" in second.metrics and second.facts.not_measured == {}


def test_the_second_process_that_dies_fails_its_engine_alone(prepared, tmp_path, child):
    child({OLD: [GOOD, ChildError("was ended by SIGSEGV")], NEW: GOOD})
    first, second = measure(BOTH, prepared, tmp_path / "s.npz")
    assert (first.status, first.reason, first.metrics) == ("failed", "was ended by SIGSEGV", {})
    assert second.status == "measured"


@pytest.mark.parametrize(
    ("marks", "end", "says"),
    [
        ([2, 1, 0, 0, 0], "abort", r"^pywhispercpp failed on the clip clip-2: support\.gone:abort was ended by SIGABRT"),
        ([2, 1, 1, 0, 0], "abort", r"^pywhispercpp failed on the clip clip-2 or clip-3: support\.gone:abort was ended by"),
        ([2, 0, 0, 0, 0], "abort", r"^support\.gone:abort was ended by SIGABRT"),
        ([], "leave", r"^support\.gone:leave ended with code 3"),
        ([1, 2, 2, 2, 2], "hang", r"^pywhispercpp failed on the clip clip-1: support\.gone:hang did not finish within 2 s"),
        ([0, 0, 1, 0, 0], "fail", r"^pywhispercpp failed on the clip clip-3: code -6. Next step: do this"),
    ],
)  # fmt: skip
def test_a_process_that_is_gone_names_the_clip_it_was_at(prepared, tmp_path, monkeypatch, marks, end, says):
    monkeypatch.setenv("PYTHONPATH", f"{TESTS}:{TESTS.parent / 'include'}")
    real, timeouts = turning.run_in_turns, []

    def run(asks, *, timeout, **limits):
        (ask,) = asks
        assert ask.function is one_by_one
        timeouts.append(timeout)
        leaving = gone.Leaving(ask.request.progress.marks, bytes(marks))
        return real([Ask(getattr(gone, end), leaving)], timeout=2 if end == "hang" else 60, **limits)

    monkeypatch.setattr(turning, "run_in_turns", run)
    (record,) = measure(BOTH.model_copy(update={"variants": (NEW,), "controls": ()}), prepared, tmp_path / "s.npz")
    assert record.status == "failed"
    assert re.match(says, record.reason), record.reason
    assert timeouts == [120 + 20 * 50 * 2], "all clips, and what warms"


def test_a_dead_engine_does_not_take_the_other_with_it_and_is_not_tried_again(prepared, tmp_path, child):
    requests = child({OLD: ChildError("was ended by SIGSEGV"), NEW: GOOD})
    dead, good = measure(BOTH, prepared, tmp_path / "s.npz")
    assert (dead.status, dead.reason, dead.samples) == ("failed", "was ended by SIGSEGV", None)
    assert good.status == "measured"
    assert [asked.variant for asked in requests].count(OLD) == 1
    with np.load(tmp_path / good.samples) as raw:
        assert {name.split("/")[0] for name in raw} == {NEW}


def test_clips_that_went_after_prepare_fail_with_the_next_step(prepared, tmp_path):
    (tmp_path / "clips" / "clips.json").unlink()
    with pytest.raises(NotMeasured, match="prepare transcription again"):
        measure(BOTH, prepared, tmp_path / "s.npz")
