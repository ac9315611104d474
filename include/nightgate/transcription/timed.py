"""The child's side: what runs alone in its own process while the clock is read.

Audio is in memory before the clock starts; the model is validated first, because an engine may crash on a bad file, and
then no reason would be left. For the same reason the progress is written, see `progress.Progress`. Between two turns the
process rests until no thread of it computes any more.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter, perf_counter_ns
from typing import TYPE_CHECKING

from nightgate.errors import NotMeasured
from nightgate.measure import blocks, rest
from nightgate.record import Device
from nightgate.transcription import engines
from nightgate.transcription.engines import Engine, Transcript
from nightgate.transcription.models.ggml import validate_ggml
from nightgate.transcription.models.mel import SAMPLE_RATE
from nightgate.transcription.progress import Marking, Progress
from nightgate.transcription.whisper_batch import Split, batches, each, spread

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from nightgate.transcription.engines.interface import Audio

log = logging.getLogger(__name__)

_CLEARLY_SLOWER = 1.25  # times the fastest way: then more contexts, which share more, are not tried


@dataclass(frozen=True, kw_only=True)
class Work:
    """What is to be transcribed, and with what. ``clips`` are paths of float32 16 kHz ``.npy``."""

    engine: type[Engine]
    model: engines.Model
    device: Device
    threads: int
    decoding: engines.Decoding
    clips: tuple[Path, ...]
    progress: Progress


@dataclass(frozen=True, kw_only=True)
class OneByOneAnswer:
    """``durations_ns`` until the whole clip was transcribed and ``first_segment_ns`` until its first segment was known:
    int64 nanoseconds, (clips,), with 0 for the last ones if it was stopped before them. ``beside_ns``, of the same shape: the
    slower of two readings of the reference computation before and after the call, see `blocks.kernel`. ``load_seconds`` is of
    the model: the library is imported before. ``transcripts`` are those of the clips that were heard, ``versions`` those of
    all that computed."""

    versions: Mapping[str, str]
    ran_on: str
    load_seconds: float
    durations_ns: npt.NDArray[np.int64]
    first_segment_ns: npt.NDArray[np.int64]
    beside_ns: npt.NDArray[np.int64]
    transcripts: tuple[Transcript, ...]


@dataclass(frozen=True)
class InBatches:
    """All clips in batches of ``batch_size``, ``passes`` times at most.

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
    """``seconds`` that a way took for the shortest clips."""

    way: Way
    seconds: float

    def __str__(self) -> str:
        together = f" ({self.way.at_once} at once)" if self.way.at_once > 1 else ""
        return f"{self.way.contexts} × {self.way.threads}{together}: {self.seconds:.1f} s"


@dataclass(frozen=True, kw_only=True)
class InBatchesAnswer:
    """``trials`` of every way that was tried, and the fastest of them. ``seconds``: wall time of each batch in each pass,
    float64, (passes, batches), 0 where it was stopped before. ``texts`` in the order of the clips."""

    trials: tuple[Trial, ...]
    way: Way
    ran_on: str
    seconds: npt.NDArray[np.float64]
    texts: tuple[str, ...]


def one_by_one(work: Work) -> Generator[None, None, OneByOneAnswer]:
    """Transcribe each clip once, one in every turn; in the first turn the model is loaded and warmed with one of them."""
    import numpy as np

    work.engine.library()
    model = _validated(work.model)
    start = perf_counter()
    engine = engines.load(work.engine, model, work.threads, work.device, work.decoding)
    load_seconds = perf_counter() - start

    durations = np.zeros(len(work.clips), dtype=np.int64)
    first_segment, beside = np.zeros_like(durations), np.zeros_like(durations)
    transcripts: list[Transcript] = []
    with work.progress.begun(len(work.clips)) as at_work:
        place = warming_clip([np.load(path, mmap_mode="r") for path in work.clips])
        with at_work(place):
            engine.transcribe(np.load(work.clips[place]))
        for place, path in enumerate(work.clips):
            rest.until_idle()
            yield
            if work.progress.enough:
                break
            audio = np.load(path)
            first = _Mark()
            with at_work(place):
                before = blocks.kernel()
                begin = perf_counter_ns()
                transcript = engine.transcribe(audio, first)
                end = perf_counter_ns()
                after = blocks.kernel()
            durations[place], first_segment[place] = end - begin, (first.at or end) - begin
            beside[place] = max(before, after)
            work.progress.spent(end - begin)
            transcripts.append(transcript)
    return OneByOneAnswer(
        versions=engine.versions(),
        ran_on=engine.ran_on,
        load_seconds=load_seconds,
        durations_ns=durations,
        first_segment_ns=first_segment,
        beside_ns=beside,
        transcripts=tuple(transcripts),
    )


def in_batches(request: InBatches) -> Generator[None, None, InBatchesAnswer]:
    """Find the fastest way to transcribe a batch on this host, in the first turn; then time the batches with it, one in
    every turn.

    The ways are one clip after the other in one context, clips spread over contexts that share the host, and, by an
    engine that can, a whole batch in one call. Clips of like length go into one batch, and in a batch the longest
    starts first, as is usual where a batch waits for its slowest member.
    """
    import numpy as np

    progress = request.work.progress
    clips = [np.load(path) for path in request.work.clips]
    order = sorted(range(len(clips)), key=lambda place: -len(clips[place]))
    cut = list(batches(order, request.batch_size))
    seconds, texts = np.zeros((request.passes, len(cut))), dict[int, str]()
    with progress.begun(len(clips)) as at_work:
        fastest, trials = _fastest(request, clips, _sample(request, cut), at_work)
        for turn in range(seconds.size):
            rest.until_idle()
            yield
            if progress.enough:
                break
            batch = cut[turn % len(cut)]
            start = perf_counter_ns()
            heard = fastest.transcribe(batch)
            spent = perf_counter_ns() - start
            seconds.flat[turn] = spent / 1e9
            progress.spent(spent)
            texts |= zip(batch, heard, strict=True)
    return InBatchesAnswer(
        trials=tuple(trials),
        way=fastest.way,
        ran_on=fastest.ran_on,
        seconds=seconds[seconds.any(axis=1)],
        texts=tuple(texts[place] for place in range(len(clips))),
    )


def _sample(request: InBatches, cut: Sequence[Sequence[int]]) -> Sequence[int]:
    """What every way is tried with: the full batch with the shortest clips, or of these only so many of the shortest as
    give each of the contexts two. A batch in one call is none until it is full."""
    batch = [batch for batch in cut if len(batch) == len(cut[0])][-1]
    most = max((contexts for contexts, _ in request.splits), default=1)
    return batch if request.in_one_call else batch[-2 * most :]


def _fastest(
    request: InBatches, clips: Sequence[Audio], sample: Sequence[int], at_work: Marking
) -> tuple[_Contexts, list[Trial]]:
    """The contexts of the fastest way, warm, and what every way took for the clips at ``sample``.

    With more contexts the time falls as long as there is something to share, and then it rises: when it has risen clearly,
    no more are tried.
    """
    work = request.work
    # one context is what the clips were transcribed with one by one, so that its time is known
    best = Trial(Way(1, work.threads), sum(request.seconds_one_by_one[place] for place in sample))
    trials, chosen = [best], None
    ways = [Way(*split) for split in request.splits]
    if request.in_one_call and len(sample) > 1:
        ways.append(Way(1, work.threads, len(sample)))
    for way in ways:
        if way.contexts > 1 and trials[-1].seconds > _CLEARLY_SLOWER * best.seconds:
            continue
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

    def __init__(self, work: Work, clips: Sequence[Audio], way: Way, at_work: Marking) -> None:
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


class _Mark:
    """Remembers when it was called."""

    at: int | None = None

    def __call__(self) -> None:
        self.at = perf_counter_ns()


def _validated(model: engines.Model) -> engines.Model:
    """``model`` as its file says that it is."""
    hparams = validate_ggml(model.ggml)
    return replace(model, n_vocab=hparams.n_vocab, ftype=hparams.ftype)
