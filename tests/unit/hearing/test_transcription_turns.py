"""In which turns and how often the engines hear, without an engine: the child process is replaced."""

from __future__ import annotations

import numpy as np
import pytest
from support.scripted_engines import BOTH, GOOD, NEW, OLD, TORCH, installed, model_is, prepared_of
from support.speech import measure

from nightgate.transcription.plugin import BENCHMARK


def one_by_ones(asked):
    return [(one.variant, one.turns) for one in asked if one.function == "one_by_one"]


NOISY = [2.0, 2.6, 1.7, 2.2, 2.9]


def test_every_repeat_is_a_new_process_of_each_and_they_take_turns(prepared, tmp_path, child):
    requests = child({OLD: GOOD, NEW: GOOD}, seconds={OLD: [2.0, NOISY, 2.5], NEW: [3.0, NOISY, 3.0]})
    measure(BOTH.model_copy(update={"repeats": 3, "precision": 0.001}), prepared, tmp_path / "s.npz")
    # a control takes part in the least repeats only
    assert one_by_ones(requests) == [
        (OLD, [OLD, NEW]), (NEW, [OLD, NEW]), (NEW, [NEW, OLD]), (OLD, [NEW, OLD]), (OLD, [OLD]),
    ]  # fmt: skip


@pytest.mark.parametrize(("count", "fewest"), [(4, 4), (5, 5), (8, 5), (20, 5), (23, 6)])
def test_it_ends_in_the_middle_of_a_repeat_when_it_is_precise_but_not_at_once(tmp_path, child, count, fewest):
    noisy = 3.0 + np.resize([0.0, 0.4, -0.2, -0.3], count)
    child({OLD: GOOD * 5, NEW: GOOD * 5}, seconds={OLD: [2.0, 2.0], NEW: [3.0, noisy]})
    settings = BOTH.model_copy(update={"variants": (OLD, NEW), "controls": (), "repeats": 2, "precision": 0.01})
    old, new = measure(settings, prepared_of(tmp_path / "clips", count), tmp_path / "s.npz")
    with np.load(tmp_path / "s.npz") as raw:
        heard = (raw[f"{OLD}/durations_ns"] > 0).sum(axis=1).tolist()
        assert heard == [count, fewest], "five, or a quarter, or all there are"
        assert (raw[f"{NEW}/durations_ns"] > 0).all()
        assert np.isnan(raw[f"{OLD}/round_seconds"]).tolist() == [False] * sum(heard) + [True] * (count - fewest)
        assert raw[f"{NEW}/round_seconds"] == pytest.approx([3.0] * count + noisy.tolist())
    assert (old.facts.stopped, old.facts.half_width) == ("precision", 0.0)
    low, high = new.metrics["xrt"].ci95
    assert (high - low) / 2 / new.metrics["xrt"].value == pytest.approx(new.facts.half_width)
    assert new.facts.half_width > 0.01
    assert new.facts.stopped == "budget"


def test_the_controls_end_with_the_gated_engines_but_not_at_once(tmp_path, child):
    noisy = np.resize(NOISY, 12)
    requests = child({OLD: GOOD * 3, NEW: GOOD * 3}, seconds={OLD: [2.0, 2.0], NEW: [2.0, noisy]})
    settings = BOTH.model_copy(update={"repeats": 3})
    old, new = measure(settings, prepared_of(tmp_path / "clips", 12), tmp_path / "s.npz")
    assert one_by_ones(requests) == [(OLD, [OLD, NEW]), (NEW, [OLD, NEW]), (NEW, [NEW, OLD]), (OLD, [NEW, OLD])]
    assert (old.facts.stopped, new.facts.stopped) == ("precision", "budget")
    assert new.facts.half_width > settings.precision
    with np.load(tmp_path / "s.npz") as raw:
        assert (raw[f"{NEW}/durations_ns"] > 0).sum(axis=1).tolist() == [12, 5]


def test_the_least_repeats_are_whole_but_for_the_last(tmp_path, child):
    child({OLD: GOOD * 2, NEW: GOOD * 2})
    settings = BOTH.model_copy(update={"least_repeats": 3, "repeats": 4})
    measure(settings, prepared_of(tmp_path / "clips", 8), tmp_path / "s.npz")
    with np.load(tmp_path / "s.npz") as raw:
        assert (raw[f"{OLD}/durations_ns"] > 0).sum(axis=1).tolist() == [8, 8, 5]


def test_where_they_do_not_fit_into_memory_one_comes_after_the_other(prepared, tmp_path, child):
    requests = child({OLD: GOOD, NEW: GOOD})
    large = model_is(prepared, bytes=2**50)
    first, second = measure(BOTH.model_copy(update={"repeats": 2}), large, tmp_path / "s.npz")
    assert one_by_ones(requests) == [(OLD, [OLD]), (NEW, [NEW]), (NEW, [NEW]), (OLD, [OLD])]
    assert first.facts.turns == second.facts.turns == "none, as the memory holds 1 of 2 models"
    with np.load(tmp_path / "s.npz") as raw:
        assert f"{OLD}/durations_ns" in raw and f"{OLD}/round_seconds" not in raw


def test_only_gated_engines_transcribe_in_batches_unless_the_controls_are_asked_for(prepared, tmp_path, child):
    requests = child({OLD: GOOD, NEW: GOOD})
    for controls, repeats, expected in ((False, 1, [OLD]), (True, 1, [OLD, NEW]), (True, 0, [])):
        requests.clear()
        settings = BOTH.model_copy(update={"batch_controls": controls, "batch_repeats": repeats})
        first, second = measure(settings, prepared, tmp_path / "s.npz")
        assert [one.variant for one in requests if one.function == "in_batches"] == expected
        assert ["batch" in one.detail for one in (first, second)] == [OLD in expected, NEW in expected]
        assert first.facts.not_measured == second.facts.not_measured == {}


def test_to_confirm_the_gated_engines_hear_the_same_clips_and_batches_only_where_these_are_judged():
    settings = BOTH.model_copy(update={"gpu_variants": (TORCH,), "audio_seconds": 77.0})
    changed = {"controls": (), "batch_repeats": 0}
    assert BENCHMARK.to_confirm(settings, ("xrt", "wer")) == settings.model_copy(update=changed)
    for metric in ("batch_xrt", "batch_rtfx"):
        assert BENCHMARK.to_confirm(settings, ("xrt", metric)) == settings.model_copy(update={"controls": ()})


def test_an_engine_with_batches_of_its_own_is_not_spread_over_contexts(prepared, tmp_path, child, monkeypatch):
    requests = child({NEW: GOOD, TORCH: GOOD})
    installed(monkeypatch, NEW, TORCH)
    settings = BOTH.model_copy(update={"variants": (NEW, TORCH), "controls": ()})
    for beam_size in (1, 3):
        measure(settings.model_copy(update={"beam_size": beam_size}), prepared, tmp_path / "s.npz")
    batches = [
        (asked.variant, asked.request.splits, asked.request.in_one_call)
        for asked in requests if asked.function == "in_batches"
    ]  # fmt: skip
    one_way = ((2, 1),)
    assert batches == [(NEW, one_way, False), (TORCH, (), True), (NEW, one_way, False), (TORCH, (), False)]
