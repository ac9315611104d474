"""Each engine alone in processes of its own, in turns one clip after the other, and then in batches."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from nightgate.benchmark import Benchmark, Context
from nightgate.errors import NotMeasured
from nightgate.measure import host
from nightgate.measure.attempts import turns
from nightgate.measure.child import ChildResult, run_child
from nightgate.measure.samples import save
from nightgate.record import Record
from nightgate.transcription import engines
from nightgate.transcription.clips.folder import SavedClip, read_clips
from nightgate.transcription.detail import Detail
from nightgate.transcription.evidence import Evidence
from nightgate.transcription.prepared import TranscriptionPrepared
from nightgate.transcription.settings import Settings
from nightgate.transcription.timed import AT_WORK, InBatches, OneByOne, Work, in_batches, one_by_one
from nightgate.transcription.whisper_batch import batch_size_cpu, splits

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_PROCESSES = 2
_SLOWEST_XRT = 20  # a child slower than this is given up

Request = TypeVar("Request")
Answer = TypeVar("Answer")


def measure(
    benchmark: Benchmark[Settings, TranscriptionPrepared],
    settings: Settings,
    prepared: TranscriptionPrepared,
    context: Context,
) -> list[Record]:
    """See `Transcription.measure`."""
    device, clips = context.device, read_clips(prepared.clips.folder)
    found: list[Evidence] = []
    for variant in (*settings.gated(device), *settings.beside(device)):
        if not engines.made_for(variant, device):
            continue
        record = benchmark.begun(settings, variant, device)
        record.facts.inputs = {"clips": prepared.clips.facts.sha256, "model": prepared.model.sha256}
        record.facts.threads = settings.cores
        found.append(Evidence(record, clips, settings.language, Detail.of(settings, prepared, clips)))
    for one in found:
        if missing := engines.unavailable(one.variant, device, prepared.for_engines(), settings.decoding):
            one.record.status, one.record.reason = "skipped", str(missing)
    run = _Run(settings, prepared, context)
    for process, one in turns(found, _PROCESSES):
        repeats = settings.repeats // _PROCESSES + (process < settings.repeats % _PROCESSES)
        one.attempt(partial(run.one_by_one, repeats=repeats))
    for one in found:
        one.beside("batch", run.in_batches)
    raw: dict[str, npt.NDArray[np.generic]] = {}
    for one in found:
        raw |= one.finish(context.samples)
    if raw:
        save(context.samples, raw)
    return [one.record for one in found]


@dataclass(frozen=True)
class _Run:
    """What the steps of all engines share."""

    settings: Settings
    prepared: TranscriptionPrepared
    context: Context

    def one_by_one(self, one: Evidence, repeats: int) -> None:
        with _named_when_it_fails(one.variant, one.clips) as progress:
            request = OneByOne(self._work(one, one.clips, progress), repeats)
            one.add_process(self._child(one_by_one, request, one.audio_seconds * (repeats + 1)))

    def in_batches(self, one: Evidence) -> None:
        settings, device = self.settings, self.context.device
        size = settings.gpu_batch if device == "gpu" else batch_size_cpu(settings.gpu_batch)
        places = whole_batches(one.clips, settings.batch_seconds, size)
        clips = [one.clips[place] for place in places]
        most = min(size, len(clips), _contexts_that_fit(self.prepared.model.bytes))
        if engines.has_batches(one.variant):  # contexts of one process would contend for Python's lock
            most = 1
        with _named_when_it_fails(one.variant, clips) as progress:
            request = InBatches(
                self._work(one, clips, progress),
                batch_size=size,
                passes=settings.batch_repeats,
                splits=tuple(splits(settings.cores, most, device)),
                in_one_call=engines.in_one_call(one.variant, settings.decoding),
                seconds_one_by_one=tuple(one.seconds_one_by_one(places)),
            )
            audio_seconds = 2 * settings.batch_repeats * sum(clip.seconds for clip in clips)
            one.add_batches(self._child(in_batches, request, audio_seconds), size, places)

    def _work(self, one: Evidence, clips: Sequence[SavedClip], progress: Path) -> Work:
        return Work(
            engine=engines.named(one.variant),
            model=self.prepared.for_engines(),
            device=self.context.device,
            threads=self.settings.cores,
            decoding=self.settings.decoding,
            clips=tuple(self.prepared.clips.folder / clip.file for clip in clips),
            progress=progress,
        )

    def _child(
        self, function: Callable[[Request], Answer], request: Request, audio_seconds: float
    ) -> ChildResult[Answer]:
        timeout = 120 + _SLOWEST_XRT * audio_seconds
        return run_child(function, request, threads=self.settings.cores, device=self.context.device, timeout=timeout)


def whole_batches(clips: Sequence[SavedClip], seconds: float, size: int) -> list[int]:
    """Places of the first clips that make up ``seconds``, rounded up to whole batches as far as clips are left."""
    total, count = 0.0, 0
    while count < len(clips) and (total < seconds or count % size):
        total += clips[count].seconds
        count += 1
    return list(range(count))


def _contexts_that_fit(model_bytes: int) -> int:
    """Contexts that half of the memory holds; one takes its weights and about as much again for its buffers."""
    return max(1, int(host.describe().memory_bytes / 2 // (2 * model_bytes + 2**28)))


@contextmanager
def _named_when_it_fails(variant: str, clips: Sequence[SavedClip]) -> Iterator[Path]:
    """Yields the file for the progress; when the process is gone, the error names the clips it was working on."""
    with tempfile.TemporaryDirectory(prefix="nightgate-progress-") as folder:
        progress = Path(folder, "progress")
        try:
            yield progress
        except NotMeasured as error:
            marks = progress.read_bytes() if progress.exists() else b""
            if at_work := [clip.id for clip, mark in zip(clips, marks, strict=False) if mark == AT_WORK[0]]:
                what = f"{variant} failed on the clip {' or '.join(at_work)}: {error.what}"
                raise type(error)(what, error.next_step) from error
            raise
