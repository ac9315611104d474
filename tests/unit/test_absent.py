"""What was asked for and skipped, in the last line, on the board and in the report."""

from __future__ import annotations

from nightgate.publish.absent import absent, skips
from nightgate.record import Record
from nightgate.terminal.tables import last_line

NO_GPU = "this host has no NVIDIA device. Next step: run it where there is one"


def record(benchmark, variant, device, status="measured", reason=None):
    return Record(benchmark=benchmark, variant=variant, device=device, status=status, reason=reason)


RECORDS = [
    record("transcription", "a", "cpu"),
    record("transcription", "b", "cpu", "skipped", "b needs the package b. Next step: install it"),
    record("transcription", "a", "gpu", "skipped", NO_GPU),
    record("transcription", "b", "gpu", "skipped", NO_GPU),
    record("hybrid_ann", "hybrid", "gpu", "skipped", NO_GPU),
    record("hybrid_ann", "hybrid", "cpu", "failed", "it crashed"),
    record("pgvector_search", "ivfflat", "cpu", "skipped"),
]


def test_one_sentence_per_reason_names_all_that_was_skipped():
    assert skips(RECORDS) == [
        "b of transcription on cpu: b needs the package b",
        "transcription on gpu, hybrid_ann on gpu: this host has no NVIDIA device",
        "pgvector_search on cpu: no reason was given",
    ]
    assert skips([RECORDS[0], RECORDS[5]]) == []


def test_the_last_line_tells_them():
    assert last_line(0) == "nightgate: exit code 0: all objectives hold"
    assert last_line(0, skips(RECORDS[2:5])) == (
        "nightgate: exit code 0: all objectives hold; skipped: transcription on gpu, hybrid_ann on gpu: this host has no NVIDIA device"
    )
    assert last_line(3, state="invalid") == "nightgate: exit code 3: could not measure everything"
    undecided = (
        "undecided: everything was measured and nothing is breached, but not of every objective is known that it holds"
    )
    assert last_line(3, ["a: x"], "inconclusive") == f"nightgate: exit code 3: {undecided}; skipped: a: x"
    assert last_line(0, state="inconclusive") == "nightgate: exit code 0: all objectives hold", "the code comes first"
    assert last_line(3, ["a: x", "b: y"]) == "nightgate: exit code 3: could not measure everything; skipped: a: x; b: y"


def test_what_was_not_measured_is_a_row_per_reason():
    assert [(row.device, row.status, row.reason, row.variants) for row in absent(RECORDS)] == [
        ("cpu", "skipped", "b needs the package b. Next step: install it", ["b"]),
        ("gpu", "skipped", NO_GPU, ["a", "b"]),
        ("gpu", "skipped", NO_GPU, ["hybrid"]),
        ("cpu", "failed", "it crashed", ["hybrid"]),
        ("cpu", "skipped", "no reason was given", ["ivfflat"]),
    ]
    assert absent(RECORDS)[0].benchmark == "Transcription"
