"""What a record says of what its processes answered, without an engine: the child process is replaced."""

from __future__ import annotations

import json

import numpy as np
import pytest
from support.scripted_engines import BOTH, GOOD, NEW, OLD
from support.speech import measure

from nightgate.judge import judge
from nightgate.record import STORED, Record
from nightgate.suite import Limit
from nightgate.transcription import engines


def test_the_figures_follow_from_what_was_measured(prepared, tmp_path, child):
    child({OLD: GOOD, NEW: GOOD})
    first, second = measure(BOTH, prepared, tmp_path / "s.npz")
    assert first.status == second.status == "measured"
    value = {name: metric.value for name, metric in first.metrics.items()}
    assert value["xrt"] == pytest.approx(5 * 2 / 50)
    assert value["rtfx"] == pytest.approx(5)
    assert value["xrt_p95"] == pytest.approx(0.2)
    assert value["first_segment_latency"] == pytest.approx(0.5)
    assert value["wer"] == pytest.approx(1 / 15)
    assert first.metrics["xrt"].n == 2
    assert first.metrics["wer"].ci95[0] <= 1 / 15 <= first.metrics["wer"].ci95[1]
    # a batch holds two clips, so 20 s are two of them; alone they took 4 s, together 2.5 s
    assert first.detail["batch"]["clips"] == 2
    assert value["batch_xrt"] == pytest.approx(2.5 / 20)
    assert value["batch_rtfx"] == pytest.approx(8)
    assert first.detail["batch"]["speedup_over_one_by_one"] == pytest.approx(4 / 2.5)
    assert first.detail["batch_size_cpu"] == 2


def test_a_record_says_what_it_was_measured_with(prepared, tmp_path, child):
    child({OLD: GOOD, NEW: GOOD})
    gated, control = measure(BOTH, prepared, tmp_path / "s.npz")
    assert (gated.gated, control.gated) == (True, False)
    assert gated.facts.inputs == {"clips": prepared.clips.facts.sha256, "model": "0"}
    assert gated.facts.threads == 2
    assert (gated.facts.turns, control.facts.turns) == (f"every clip, with {NEW}", f"every clip, with {OLD}")
    assert (gated.facts.stopped, gated.facts.half_width) == ("precision", 0.0)
    assert gated.facts.pace.fastest_seconds == pytest.approx(0.002) and gated.metrics["fast_share"].value == 1
    assert gated.facts.provenance.versions == {"a-library": "1"}
    batch = gated.detail.pop("batch")
    assert batch.keys() == {
        "size", "clips", "audio_seconds", "contexts", "threads", "at_once", "calibration", "speedup_over_one_by_one", "wer",
        "peak_rss_bytes",
    }  # fmt: skip
    assert gated.detail == {
        "model": {"name": "m", "source": "file", "bytes": 1, "sha256": "0"},
        "clips": {
            "count": 5, "repeated": 0, "seconds": 50.0, "shortest_seconds": 10.0, "longest_seconds": 10.0,
            "sha256": prepared.clips.facts.sha256, "ids": [f"clip-{number}" for number in range(1, 6)],
        },
        "audio_seconds": 50.0,
        "batch_size_cpu": 2,
        "decoding": {
            "strategy": "greedy", "beam_size": 1, "best_of": 1, "temperature": 0.0, "temperature_inc": 0.0,
            "language": "en", "initial_prompt": None, "no_context": True, "vad": False,
        },
        "scoring": {"normaliser": "Whisper's English normaliser", "judged_by": "wer"},
        "ran_on": "cpu",
    }  # fmt: skip
    read = Record.model_validate_json(gated.model_dump_json(), context=STORED)
    assert read == gated, "nothing in it is moved when it is read"


def test_raw_samples_are_kept(prepared, tmp_path, child):
    child({OLD: GOOD, NEW: GOOD})
    first, _ = measure(BOTH, prepared, tmp_path / "s.npz")
    with np.load(tmp_path / first.samples) as raw:
        assert raw[f"{OLD}/durations_ns"].shape == raw[f"{OLD}/first_segment_ns"].shape == (2, 5)
        assert raw[f"{OLD}/xrt_repeats"] == pytest.approx([0.2] * 2)
        assert raw[f"{OLD}/wer_errors"].tolist() == [0, 1, 0, 0, 0]
        assert raw[f"{OLD}/wer_words"].tolist() == [3] * 5
        assert raw[f"{OLD}/batch_seconds"].tolist() == [2.0, 2.5, 3.0]


def test_transcripts_are_kept_raw(prepared, tmp_path, child):
    child({OLD: GOOD, NEW: GOOD})
    measure(BOTH, prepared, tmp_path / "s.npz")
    rows = [json.loads(line) for line in (tmp_path / f"s-{OLD}.jsonl").read_text().splitlines()]
    assert len(rows) == 5
    assert rows[1] == {
        "audio_filepath": "2.npy", "id": "clip-2", "duration": 10.0, "time": 2.0, "text": "red green blue",
        "pred_text": "Red, green; black.", "segments": [[0.0, 1.0, "Red, green; black."]],
    }  # fmt: skip


def test_the_child_is_told_how_to_decode_and_where_the_clips_are(prepared, tmp_path, child):
    requests = child({OLD: GOOD, NEW: GOOD})
    settings = BOTH.model_copy(update={"language": "de", "beam_size": 3})
    first, _ = measure(settings, prepared, tmp_path / "s.npz")
    for asked in requests:
        assert asked.work.decoding == engines.Decoding(language="de", beam_size=3)
        assert (asked.work.threads, asked.limits["threads"], asked.limits["device"]) == (2, 2, "cpu")
    assert requests[0].work.clips == tuple(prepared.clips.folder / f"{number}.npy" for number in range(1, 6))
    assert first.settings["language"] == "de"
    assert first.detail["decoding"]["beam_size"] == 3
    assert first.detail["scoring"] == {
        "normaliser": "Whisper's basic normaliser, diacritics and combining marks kept", "judged_by": "wer",
    }  # fmt: skip


def test_a_record_says_by_what_its_errors_were_judged(prepared, tmp_path, child):
    child({OLD: GOOD, NEW: GOOD})
    first, _ = measure(BOTH.model_copy(update={"language": "ja"}), prepared, tmp_path / "s.npz")
    assert first.detail["scoring"]["judged_by"] == "cer"
    limit = {"cer": {"cpu": Limit(op="<=", limit=0.9)}}
    (verdict,) = judge(first, limit, gated=True)
    assert (verdict.metric, verdict.value, verdict.verdict) == ("cer", first.metrics["cer"].value, "pass")


def test_an_engine_that_hears_something_else_the_second_time_is_named(prepared, tmp_path, child):
    child({OLD: [GOOD, ["red green blue", "red green green", *GOOD[2:]]], NEW: GOOD})
    first, second = measure(BOTH, prepared, tmp_path / "s.npz")
    assert first.detail["heard_differently_the_second_time"] == ["clip-2"]
    assert "heard_differently_the_second_time" not in second.detail
