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
from typing import TYPE_CHECKING, Any, NamedTuple

from nightgate.errors import NotMeasured
from nightgate.transcription import engines
from nightgate.transcription.models.ggml import validate_ggml
from nightgate.transcription.models.mel import SAMPLE_RATE
from nightgate.transcription.whisper_batch import batches, each, spread

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger(__name__)

_Marking = Callable[..., AbstractContextManager[None]]
"""The places of clips → a context in which they are at work."""

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
    """Find the fastest way to transcribe one batch on this host, then time all batches with it.

    The ways are one clip after the other in one context, clips spread over contexts that share the host, and, by an
    engine that can, a whole batch in one call. Clips of like length go into one batch, and in a batch the longest
    starts first, as is usual where a batch waits for its slowest member.

    Args:
        request: also batch_size, passes, splits (pairs of contexts and threads, two contexts and more), in_one_call
            (whether to try that), and alone (the seconds that each clip takes one by one).

    Returns:
        calibration (per way: contexts, threads, at_once, the most clips that a context is given in one call, and
        seconds for the batch with the shortest clips), the contexts, threads and at_once of the fastest, ran_on,
        seconds (wall time of each pass over all batches), and texts in the order of the clips.
    """
    import numpy as np

    clips = [np.load(path) for path in request["clips"]]
    order = sorted(range(len(clips)), key=lambda place: -len(clips[place]))
    cut = list(batches(order, request["batch_size"]))
    sample = [batch for batch in cut if len(batch) == len(cut[0])][-1]
    # one context is what the clips were transcribed with one by one, so that its time is known
    alone = _Way(1, request["threads"])
    calibration = [alone._asdict() | {"seconds": sum(request["alone"][place] for place in sample)}]
    ways = [_Way(*split) for split in request["splits"]]
    if request["in_one_call"] and len(sample) > 1:
        ways.append(_Way(1, request["threads"], len(sample)))
    best, chosen = calibration[0], None
    with _progress(request) as at_work:
        for way in ways:
            tried = _Contexts(request, clips, way, at_work)
            start = perf_counter()
            tried.hear(sample)
            calibration.append(row := way._asdict() | {"seconds": perf_counter() - start})
            if row["seconds"] < best["seconds"]:
                best, chosen = row, tried
            del tried  # its contexts with it, before the next ones are loaded
        log.info("%s: %s", request["variant"], ", ".join(map(_said, calibration)))
        chosen = chosen or _Contexts(request, clips, alone, at_work)
        passes, texts = [], []
        for _ in range(request["passes"]):
            start = perf_counter()
            texts = [text for batch in cut for text in chosen.hear(batch)]
            passes.append(perf_counter() - start)
    in_order = dict(zip(order, texts, strict=True))
    return {
        "calibration": calibration,
        **{name: best[name] for name in ("contexts", "threads", "at_once")},
        "ran_on": chosen.ran_on,
        "seconds": passes,
        "texts": [in_order[place] for place in range(len(clips))],
    }


def _said(row: dict[str, Any]) -> str:
    together = f" ({row['at_once']} at once)" if row["at_once"] > 1 else ""
    return f"{row['contexts']} × {row['threads']}{together}: {row['seconds']:.1f} s"


class _Way(NamedTuple):
    """How many contexts, the threads of each, and how many clips each is given in one call."""

    contexts: int
    threads: int
    at_once: int = 1


class _Contexts:
    """Loaded and warm, to transcribe batches in one way."""

    def __init__(self, request: dict[str, Any], clips: Sequence[np.ndarray], way: _Way, at_work: _Marking) -> None:
        variant, model, decoding = request["variant"], _model(request), engines.Decoding(**request["decoding"])
        self._clips, self._at_once, self._at_work = clips, way.at_once, at_work
        self._engines = [
            engines.load(variant, model, way.threads, request["device"], decoding) for _ in range(way.contexts)
        ]
        self.ran_on = self._engines[0].ran_on
        warming = clips[warming_clip(clips)]
        if way.at_once > 1:
            self._together([warming] * way.at_once)
        else:
            each(self._engines, lambda engine: engine.transcribe(warming))

    def hear(self, batch: Sequence[int]) -> list[str]:
        """The texts of the clips at these places, in their order."""
        if self._at_once == 1:
            return spread(self._engines, batch, self._alone)
        with self._at_work(*batch):
            return [heard.text for heard in self._together([self._clips[place] for place in batch])]

    def _alone(self, engine: engines.Engine, place: int) -> str:
        with self._at_work(place):
            return engine.transcribe(self._clips[place]).text

    def _together(self, clips: Sequence[np.ndarray]) -> list[engines.Transcript]:
        (engine,) = self._engines
        if not isinstance(engine, engines.BatchEngine):
            raise NotMeasured(f"{type(engine).__name__} takes one clip at a time")
        return engine.transcribe_together(clips)


def warming_clip(clips: Sequence[np.ndarray]) -> int:
    """The place of the shortest clip of a second or more, else of the longest: whisper.cpp returns from less than a
    second without any work, which would leave everything cold."""
    long_enough = [place for place, clip in enumerate(clips) if len(clip) >= SAMPLE_RATE]
    if long_enough:
        return min(long_enough, key=lambda place: len(clips[place]))
    return max(range(len(clips)), key=lambda place: len(clips[place]))


@contextmanager
def _progress(request: dict[str, Any]) -> Iterator[_Marking]:
    """Yields what marks clips as `AT_WORK` and then `DONE`. The marks are no part of what is timed one by one."""
    file = os.open(request["progress"], os.O_RDWR | os.O_CREAT)
    os.truncate(file, 0)
    os.write(file, WAITING * len(request["clips"]))

    @contextmanager
    def at_work(*places: int) -> Iterator[None]:
        for place in places:
            os.pwrite(file, AT_WORK, place)
        yield
        for place in places:
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
