"""The child's side: what runs alone in its own process while the clock is read.

Both functions take one request: variant, model (``ggml`` and ``ctranslate2`` path), device, threads, and clips (paths
of float32 16 kHz ``.npy``). Audio is in memory before the clock starts; the model is validated first, because an
engine may crash on a bad file, and then no reason would be left.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter, perf_counter_ns
from typing import Any

from nightgate.transcription import engines
from nightgate.transcription.models.ggml import validate_ggml
from nightgate.transcription.whisper_batch import batches, spread

log = logging.getLogger(__name__)


def one_by_one(request: dict[str, Any]) -> dict[str, Any]:
    """Transcribe the clips one after the other ``repeats`` times, after the shortest of them once untimed.

    Args:
        request: also repeats, and saved (the path of an ``.npy``: int64 nanoseconds, shape (2, repeats, clips); first
            until the whole clip was transcribed, then until its first segment was known).

    Returns:
        version, ran_on, load_seconds (of the model: the library is imported before), and transcripts of the first
        pass: per clip a list of [start, end, text].
    """
    import numpy as np

    version = engines.import_library(request["variant"])
    model = _model(request)
    start = perf_counter()
    engine = engines.load(request["variant"], model, request["threads"], request["device"])
    load_seconds = perf_counter() - start

    paths, repeats = request["clips"], request["repeats"]
    spent = np.zeros((2, repeats, len(paths)), dtype=np.int64)
    transcripts: list[engines.Transcript] = []
    engine.transcribe(min((np.load(path) for path in paths), key=len))
    for row in range(repeats):
        for column, path in enumerate(paths):
            audio = np.load(path)
            first = _Mark()
            begin = perf_counter_ns()
            transcript = engine.transcribe(audio, first)
            end = perf_counter_ns()
            spent[:, row, column] = end - begin, (first.at or end) - begin
            if row == 0:
                transcripts.append(transcript)
        log.info("%s: pass %d of %d", request["variant"], row + 1, repeats)
    np.save(request["saved"], spent)
    return {
        "version": version,
        "ran_on": engine.ran_on,
        "load_seconds": load_seconds,
        "transcripts": [[[part.start, part.end, part.text] for part in heard.segments] for heard in transcripts],
    }


def in_batches(request: dict[str, Any]) -> dict[str, Any]:
    """Find the fastest split of the host into contexts × threads on one batch, then time all batches with it.

    Clips of like length go into one batch, and in a batch the longest starts first, as is usual where a batch waits
    for its slowest member.

    Args:
        request: also batch_size, passes, splits (pairs of contexts and threads, two contexts and more), and alone
            (the seconds that each clip takes one by one).

    Returns:
        calibration (per split: contexts, threads, and seconds for the batch with the shortest clips), contexts, threads, ran_on,
        seconds (wall time of each pass over all batches), and texts in the order of the clips.
    """
    import numpy as np

    variant, model = request["variant"], _model(request)
    engines.import_library(variant)
    clips = [np.load(path) for path in request["clips"]]
    order = sorted(range(len(clips)), key=lambda place: -len(clips[place]))
    cut = list(batches(order, request["batch_size"]))
    sample = [batch for batch in cut if len(batch) == len(cut[0])][-1]

    def run(contexts: list[engines.Engine], batch: Sequence[int]) -> list[str]:
        return spread(contexts, [clips[place] for place in batch], lambda engine, audio: engine.transcribe(audio).text)

    def load(count: int, threads: int) -> list[engines.Engine]:
        return [engines.load(variant, model, threads, request["device"]) for _ in range(count)]

    # one context is what the clips were transcribed with one by one, so that its time is known
    alone = {"contexts": 1, "threads": request["threads"], "seconds": sum(request["alone"][place] for place in sample)}
    best, chosen, calibration = alone, [], [alone]
    for count, threads in request["splits"]:
        contexts = load(count, threads)
        run(contexts, [sample[-1]] * count)  # warm, as one context was
        start = perf_counter()
        run(contexts, sample)
        row = {"contexts": count, "threads": threads, "seconds": perf_counter() - start}
        calibration.append(row)
        if row["seconds"] < best["seconds"]:
            best, chosen = row, contexts
        del contexts
    log.info(
        "%s: %s", variant, ", ".join("{contexts} × {threads}: {seconds:.1f} s".format(**row) for row in calibration)
    )
    chosen = chosen or load(best["contexts"], best["threads"])
    passes, texts = [], []
    for _ in range(request["passes"]):
        start = perf_counter()
        texts = [text for batch in cut for text in run(chosen, batch)]
        passes.append(perf_counter() - start)
    in_order = dict(zip(order, texts, strict=True))
    return {
        "calibration": calibration,
        "contexts": best["contexts"],
        "threads": best["threads"],
        "ran_on": chosen[0].ran_on,
        "seconds": passes,
        "texts": [in_order[place] for place in range(len(clips))],
    }


class _Mark:
    """Remembers when it was called."""

    at: int | None = None

    def __call__(self) -> None:
        self.at = perf_counter_ns()


def _model(request: dict[str, Any]) -> engines.Model:
    ggml, ctranslate2 = Path(request["model"]["ggml"]), request["model"]["ctranslate2"]
    hparams = validate_ggml(ggml)
    return engines.Model(ggml, Path(ctranslate2) if ctranslate2 else None, hparams.n_vocab)
