"""The child's side: what runs alone in its own process while the clock is read.

Both functions take one request: variant, model (``ggml`` and ``ctranslate2`` path), device, threads, decoding (the
fields of `engines.Decoding`), clips (paths of float32 16 kHz ``.npy``), and progress (the path of a file with a byte
per clip: `WAITING`, `AT_WORK` or `DONE`). Audio is in memory before the clock starts; the model is validated first,
because an engine may crash on a bad file, and then no reason would be left. For the same reason the progress is
written: what is `AT_WORK` when the process is gone has brought it down.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from time import perf_counter, perf_counter_ns
from typing import TYPE_CHECKING, Any

from nightgate.transcription import engines
from nightgate.transcription.models.ggml import validate_ggml
from nightgate.transcription.models.mel import SAMPLE_RATE
from nightgate.transcription.whisper_batch import batches, each, spread

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger(__name__)

WAITING, AT_WORK, DONE = b"\0", b"\1", b"\2"


def one_by_one(request: dict[str, Any]) -> dict[str, Any]:
    """Transcribe the clips one after the other ``repeats`` times, after one of them once untimed.

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
    decoding = engines.Decoding(**request["decoding"])
    engine = engines.load(request["variant"], model, request["threads"], request["device"], decoding)
    load_seconds = perf_counter() - start

    paths, repeats = request["clips"], request["repeats"]
    spent = np.zeros((2, repeats, len(paths)), dtype=np.int64)
    transcripts: list[engines.Transcript] = []
    with _progress(request) as at_work:
        place = warming_clip([np.load(path, mmap_mode="r") for path in paths])
        with at_work(place):
            engine.transcribe(np.load(paths[place]))
        for row in range(repeats):
            for column, path in enumerate(paths):
                audio = np.load(path)
                first = _Mark()
                with at_work(column):
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

    variant, model, decoding = request["variant"], _model(request), engines.Decoding(**request["decoding"])
    clips = [np.load(path) for path in request["clips"]]
    order = sorted(range(len(clips)), key=lambda place: -len(clips[place]))
    cut = list(batches(order, request["batch_size"]))
    sample = [batch for batch in cut if len(batch) == len(cut[0])][-1]
    warming = warming_clip(clips)

    def load(count: int, threads: int) -> list[engines.Engine]:
        contexts = [engines.load(variant, model, threads, request["device"], decoding) for _ in range(count)]
        each(contexts, lambda engine: engine.transcribe(clips[warming]))  # warm, as one context was
        return contexts

    # one context is what the clips were transcribed with one by one, so that its time is known
    alone = {"contexts": 1, "threads": request["threads"], "seconds": sum(request["alone"][place] for place in sample)}
    best, chosen, calibration = alone, [], [alone]
    with _progress(request) as at_work:

        def hear(engine: engines.Engine, place: int) -> str:
            with at_work(place):
                return engine.transcribe(clips[place]).text

        for count, threads in request["splits"]:
            contexts = load(count, threads)
            start = perf_counter()
            spread(contexts, sample, hear)
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
            texts = [text for batch in cut for text in spread(chosen, batch, hear)]
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


def warming_clip(clips: Sequence[np.ndarray]) -> int:
    """The place of the shortest clip of a second or more, else of the longest: whisper.cpp returns from less than a
    second without any work, which would leave everything cold."""
    long_enough = [place for place, clip in enumerate(clips) if len(clip) >= SAMPLE_RATE]
    if long_enough:
        return min(long_enough, key=lambda place: len(clips[place]))
    return max(range(len(clips)), key=lambda place: len(clips[place]))


@contextmanager
def _progress(request: dict[str, Any]) -> Iterator[Callable[[int], AbstractContextManager[None]]]:
    """Yields what marks a clip as `AT_WORK` and then `DONE`. The marks are no part of what is timed one by one."""
    file = os.open(request["progress"], os.O_RDWR | os.O_CREAT)
    os.truncate(file, 0)
    os.write(file, WAITING * len(request["clips"]))

    @contextmanager
    def at_work(place: int) -> Iterator[None]:
        os.pwrite(file, AT_WORK, place)
        yield
        os.pwrite(file, DONE, place)  # not when it failed: then it is what failed

    try:
        yield at_work
    finally:
        os.close(file)


class _Mark:
    """Remembers when it was called."""

    at: int | None = None

    def __call__(self) -> None:
        self.at = perf_counter_ns()


def _model(request: dict[str, Any]) -> engines.Model:
    ggml, ctranslate2 = Path(request["model"]["ggml"]), request["model"]["ctranslate2"]
    hparams = validate_ggml(ggml)
    return engines.Model(ggml, Path(ctranslate2) if ctranslate2 else None, hparams.n_vocab, hparams.ftype)
