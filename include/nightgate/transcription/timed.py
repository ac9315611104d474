"""The child's side: what runs alone in its own process while the clock is read.

Audio is in memory before the clock starts; the model is validated first, because an engine may crash on a bad file, and
then no reason would be left. For the same reason the progress is written: what is `AT_WORK` when the process is gone has
brought it down.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter, perf_counter_ns
from typing import TYPE_CHECKING

from nightgate.errors import NotMeasured
from nightgate.record import Device
from nightgate.transcription import engines
from nightgate.transcription.engines import Engine, Transcript
from nightgate.transcription.models.ggml import validate_ggml
from nightgate.transcription.models.mel import SAMPLE_RATE
from nightgate.transcription.whisper_batch import Split, batches, each, spread

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from nightgate.transcription.engines.interface import Audio

log = logging.getLogger(__name__)

_Marking = Callable[..., AbstractContextManager[None]]
"""The places of clips → a context in which they are at work."""

WAITING, AT_WORK, DONE = b"\0", b"\1", b"\2"


@dataclass(frozen=True, kw_only=True)
class Work:
    """What is to be transcribed, and with what.

    ``clips`` are paths of float32 16 kHz ``.npy``; ``progress`` is a file that gets a byte per clip: `WAITING`,
    `AT_WORK` or `DONE`.
    """

    engine: type[Engine]
    model: engines.Model
    device: Device
    threads: int
    decoding: engines.Decoding
    clips: tuple[Path, ...]
    progress: Path


@dataclass(frozen=True)
class OneByOne:
    """Every clip ``repeats`` times, one after the other."""

    work: Work
    repeats: int


@dataclass(frozen=True, kw_only=True)
class OneByOneAnswer:
    """``durations_ns`` until the whole clip was transcribed and ``first_segment_ns`` until its first segment was known:
    int64 nanoseconds, (repeats, clips). ``load_seconds`` is of the model: the library is imported before. ``transcripts``
    are those of the first pass, ``versions`` those of all that computed."""

    versions: Mapping[str, str]
    ran_on: str
    load_seconds: float
    durations_ns: npt.NDArray[np.int64]
    first_segment_ns: npt.NDArray[np.int64]
    transcripts: tuple[Transcript, ...]


@dataclass(frozen=True)
class InBatches:
    """All clips in batches of ``batch_size``, ``passes`` times.

    ``splits`` of two contexts and more are tried, and where ``in_one_call`` a whole batch in one call;
    ``seconds_one_by_one`` are what each clip takes alone.
    """

    work: Work
    batch_size: int
    passes: int
    splits: tuple[Split, ...]
    in_one_call: bool
    seconds_one_by_one: tuple[float, ...]


@dataclass(frozen=True)
class Way:
    """How many contexts, the threads of each, and the most clips that each is given in one call."""

    contexts: int
    threads: int
    at_once: int = 1


@dataclass(frozen=True)
class Trial:
    """``seconds`` that a way took for the batch with the shortest clips."""

    way: Way
    seconds: float

    def __str__(self) -> str:
        together = f" ({self.way.at_once} at once)" if self.way.at_once > 1 else ""
        return f"{self.way.contexts} × {self.way.threads}{together}: {self.seconds:.1f} s"


@dataclass(frozen=True, kw_only=True)
class InBatchesAnswer:
    """``trials`` of every way, and the fastest of them. ``seconds``: wall time of each pass over all batches, float64,
    (passes,). ``texts`` in the order of the clips."""

    trials: tuple[Trial, ...]
    way: Way
    ran_on: str
    seconds: npt.NDArray[np.float64]
    texts: tuple[str, ...]


def one_by_one(request: OneByOne) -> OneByOneAnswer:
    """Transcribe the clips one after the other ``repeats`` times, after one of them once untimed."""
    import numpy as np

    work, repeats = request.work, request.repeats
    work.engine.library()
    model = _validated(work.model)
    start = perf_counter()
    engine = engines.load(work.engine, model, work.threads, work.device, work.decoding)
    load_seconds = perf_counter() - start

    durations = np.zeros((repeats, len(work.clips)), dtype=np.int64)
    first_segment = np.zeros_like(durations)
    transcripts: list[Transcript] = []
    with _progress(work) as at_work:
        place = warming_clip([np.load(path, mmap_mode="r") for path in work.clips])
        with at_work(place):
            engine.transcribe(np.load(work.clips[place]))
        for row in range(repeats):
            for column, path in enumerate(work.clips):
                audio = np.load(path)
                first = _Mark()
                with at_work(column):
                    begin = perf_counter_ns()
                    transcript = engine.transcribe(audio, first)
                    end = perf_counter_ns()
                durations[row, column], first_segment[row, column] = end - begin, (first.at or end) - begin
                if row == 0:
                    transcripts.append(transcript)
            log.info("%s: pass %d of %d", work.engine.name, row + 1, repeats)
    return OneByOneAnswer(
        versions=engine.versions(),
        ran_on=engine.ran_on,
        load_seconds=load_seconds,
        durations_ns=durations,
        first_segment_ns=first_segment,
        transcripts=tuple(transcripts),
    )


def in_batches(request: InBatches) -> InBatchesAnswer:
    """Find the fastest way to transcribe one batch on this host, then time all batches with it.

    The ways are one clip after the other in one context, clips spread over contexts that share the host, and, by an
    engine that can, a whole batch in one call. Clips of like length go into one batch, and in a batch the longest
    starts first, as is usual where a batch waits for its slowest member.
    """
    import numpy as np

    clips = [np.load(path) for path in request.work.clips]
    order = sorted(range(len(clips)), key=lambda place: -len(clips[place]))
    cut = list(batches(order, request.batch_size))
    sample = [batch for batch in cut if len(batch) == len(cut[0])][-1]
    with _progress(request.work) as at_work:
        fastest, trials = _fastest(request, clips, sample, at_work)
        passes, texts = [], list[str]()
        for _ in range(request.passes):
            start = perf_counter()
            texts = [text for batch in cut for text in fastest.transcribe(batch)]
            passes.append(perf_counter() - start)
    in_order = dict(zip(order, texts, strict=True))
    return InBatchesAnswer(
        trials=tuple(trials),
        way=fastest.way,
        ran_on=fastest.ran_on,
        seconds=np.array(passes),
        texts=tuple(in_order[place] for place in range(len(clips))),
    )


def _fastest(
    request: InBatches, clips: Sequence[Audio], sample: Sequence[int], at_work: _Marking
) -> tuple[_Contexts, list[Trial]]:
    """The contexts of the fastest way, warm, and what every way took for the clips at ``sample``."""
    work = request.work
    # one context is what the clips were transcribed with one by one, so that its time is known
    best = Trial(Way(1, work.threads), sum(request.seconds_one_by_one[place] for place in sample))
    trials, chosen = [best], None
    ways = [Way(*split) for split in request.splits]
    if request.in_one_call and len(sample) > 1:
        ways.append(Way(1, work.threads, len(sample)))
    for way in ways:
        tried = _Contexts(work, clips, way, at_work)
        start = perf_counter()
        tried.transcribe(sample)
        trials.append(trial := Trial(way, perf_counter() - start))
        if trial.seconds < best.seconds:
            best, chosen = trial, tried
        del tried  # its contexts with it, before the next ones are loaded
    log.info("%s: %s", work.engine.name, ", ".join(map(str, trials)))
    return chosen or _Contexts(work, clips, best.way, at_work), trials


class _Contexts:
    """Loaded and warm, to transcribe batches in one way."""

    def __init__(self, work: Work, clips: Sequence[Audio], way: Way, at_work: _Marking) -> None:
        model = _validated(work.model)
        self.way, self._at_once = way, way.at_once
        self._clips, self._at_work = clips, at_work
        self._engines = [
            engines.load(work.engine, model, way.threads, work.device, work.decoding) for _ in range(way.contexts)
        ]
        self.ran_on = self._engines[0].ran_on
        warming = clips[warming_clip(clips)]
        if way.at_once > 1:
            self._together([warming] * way.at_once)
        else:
            each(self._engines, lambda engine: engine.transcribe(warming))

    def transcribe(self, batch: Sequence[int]) -> list[str]:
        """The texts of the clips at these places, in their order."""
        if self._at_once == 1:
            return spread(self._engines, batch, self._alone)
        with self._at_work(*batch):
            return [transcript.text for transcript in self._together([self._clips[place] for place in batch])]

    def _alone(self, engine: Engine, place: int) -> str:
        with self._at_work(place):
            return engine.transcribe(self._clips[place]).text

    def _together(self, clips: Sequence[Audio]) -> list[Transcript]:
        (engine,) = self._engines
        if not isinstance(engine, engines.BatchEngine):
            raise NotMeasured(f"{type(engine).__name__} takes one clip at a time")
        return engine.transcribe_together(clips)


def warming_clip(clips: Sequence[Audio]) -> int:
    """The place of the shortest clip of a second or more, else of the longest: whisper.cpp returns from less than a
    second without any work, which would leave everything cold."""
    long_enough = [place for place, clip in enumerate(clips) if len(clip) >= SAMPLE_RATE]
    if long_enough:
        return min(long_enough, key=lambda place: len(clips[place]))
    return max(range(len(clips)), key=lambda place: len(clips[place]))


@contextmanager
def _progress(work: Work) -> Iterator[_Marking]:
    """Yields what marks clips as `AT_WORK` and then `DONE`. The marks are no part of what is timed one by one."""
    file = os.open(work.progress, os.O_RDWR | os.O_CREAT)
    os.truncate(file, 0)
    os.write(file, WAITING * len(work.clips))

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


def _validated(model: engines.Model) -> engines.Model:
    """``model`` as its file says that it is."""
    hparams = validate_ggml(model.ggml)
    return replace(model, n_vocab=hparams.n_vocab, ftype=hparams.ftype)
