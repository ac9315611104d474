"""The child's side: what runs alone in its own process while the clock is read."""

from __future__ import annotations

import logging
from pathlib import Path
from time import perf_counter, perf_counter_ns
from typing import Any

from nightgate.transcription import engines
from nightgate.transcription.ggml import validate_ggml
from nightgate.transcription.whisper_batch import batches

log = logging.getLogger(__name__)


def transcribe(request: dict[str, Any]) -> dict[str, Any]:
    """Load the model, transcribe all clips once untimed, then ``repeats`` times with the clock.

    Args:
        request: variant, model (path), threads, clips (paths of float32 16 kHz ``.npy``), batch_size, repeats, and
            durations (the path to save int64 nanoseconds to, shape (repeats, clips)).

    Returns:
        load_seconds (model only: the library is imported before), version, and transcripts of the first timed pass.
    """
    import numpy as np

    model, clips, repeats = Path(request["model"]), request["clips"], request["repeats"]
    validate_ggml(model)  # an engine may crash on a bad file, and then no reason would be left
    version = engines.import_library(request["variant"])
    start = perf_counter()
    engine = engines.load(request["variant"], model, request["threads"])
    load_seconds = perf_counter() - start

    durations = np.empty((repeats, len(clips)), dtype=np.int64)
    transcripts: list[str] = []
    for row in range(-1, repeats):  # row -1 warms up
        column = 0
        for batch in batches(clips, request["batch_size"]):
            for audio in [np.load(path) for path in batch]:  # a batch is in memory before its first clip is timed
                begin = perf_counter_ns()
                text = engine.transcribe(audio)
                end = perf_counter_ns()
                if row >= 0:
                    durations[row, column] = end - begin
                if row == 0:
                    transcripts.append(text)
                column += 1
        log.info("%s: %s", request["variant"], f"pass {row + 1} of {repeats}" if row >= 0 else "warm")
    np.save(request["durations"], durations)
    return {"load_seconds": load_seconds, "version": version, "transcripts": transcripts}
