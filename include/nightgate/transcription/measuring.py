"""All engines in turns, clip by clip, each in a process of its own, and again in new ones until the times are known well
enough; then in batches."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil
from typing import TYPE_CHECKING, TypeVar

from nightgate import paths
from nightgate.benchmark import Benchmark, Context
from nightgate.errors import NightgateError
from nightgate.measure import blocks, host, pace
from nightgate.measure.child import ChildResult
from nightgate.measure.samples import save
from nightgate.record import Record
from nightgate.transcription import engines
from nightgate.transcription.clips.folder import SavedClip, read_clips
from nightgate.transcription.detail import Detail
from nightgate.transcription.evidence import Evidence
from nightgate.transcription.prepared import TranscriptionPrepared
from nightgate.transcription.progress import Progress
from nightgate.transcription.repeats import Repeated
from nightgate.transcription.settings import Settings
from nightgate.transcription.timed import InBatches, Work, in_batches, one_by_one
from nightgate.transcription.turning import Asked, take_turns
from nightgate.transcription.whisper_batch import batch_size_cpu, splits

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

log = logging.getLogger(__name__)

_FEWEST, _SHARE = 5, 1 / 4
"""Clips, all in all and of all there are, in a repeat that is broken off: from fewer the scatter looks small too often."""

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
    run = _Run(settings, prepared, context, found)
    for repeat in range(settings.repeats):
        run.one_by_one(repeat)
    run.tell()
    run.in_batches()
    seen = _pace(found)
    raw: dict[str, npt.NDArray[np.generic]] = {}
    for one in found:
        raw |= one.finish(context.samples, seen)
    if raw:
        save(context.samples, raw)
    return [one.record for one in found]


@dataclass(frozen=True)
class _Run:
    """What the steps of all engines share. ``found``: one for each variant."""

    settings: Settings
    prepared: TranscriptionPrepared
    context: Context
    found: Sequence[Evidence]

    def one_by_one(self, repeat: int) -> None:
        """Let all transcribe all clips, in turns clip by clip; after the least repeats only the gated engines that are not
        known well enough."""
        wanting = [
            one
            for one in self._alive()
            if repeat < self.settings.least_repeats or (one.record.gated and not self._precise(one.reached))
        ]
        if wanting:
            names = ", ".join(one.variant for one in wanting)
            log.info("pass %d of %d at most: %s", repeat + 1, self.settings.repeats, names)
        self._say_turns(wanting if repeat == 0 else [])
        for group in self._groups(wanting[:: -1 if repeat % 2 else 1]):
            asked = [
                Asked(one.variant, one.clips, 2 * one.audio_seconds, one_by_one, partial(self._work, one, one.clips))
                for one in group
            ]
            for one, answer in zip(group, self._take(asked, partial(self._look, group, repeat)), strict=True):
                one.attempt(partial(_add, answer=answer, add=Evidence.add_process))

    def tell(self) -> None:
        """Put into the facts what ended the repeats, and what was reached."""
        for one in self._alive():
            facts = one.record.facts
            facts.stopped, facts.half_width = "precision" if self._precise(one.reached) else "budget", one.reached

    def in_batches(self) -> None:
        """Let the gated engines transcribe in batches, in turns, and the controls where the settings say so."""
        settings = self.settings
        size = settings.gpu_batch if self.context.device == "gpu" else batch_size_cpu(settings.gpu_batch)
        wanting = [one for one in self._alive() if one.record.gated or settings.batch_controls]
        for group in self._groups(wanting if settings.batch_repeats else []):
            log.info("in batches: %s", ", ".join(one.variant for one in group))
            places = whole_batches(group[0].clips, settings.batch_seconds, size)
            clips = [group[0].clips[place] for place in places]
            seconds = (2 + settings.batch_repeats) * sum(clip.seconds for clip in clips)
            asked = [
                Asked(one.variant, clips, seconds, in_batches, partial(self._batches, one, places, size))
                for one in group
            ]
            answers = self._take(asked, partial(self._look_at_batches, ceil(len(places) / size)))
            for one, answer in zip(group, answers, strict=True):
                add = partial(Evidence.add_batches, size=size, places=places)
                one.beside("batch", partial(_add, answer=answer, add=add))

    def _say_turns(self, engines_: Sequence[Evidence]) -> None:
        apart = self._apart(engines_)
        for one in engines_ if len(engines_) > 1 else ():
            others = ", ".join(other.variant for other in engines_ if other is not one)
            one.by_clip, one.record.facts.turns = not apart, apart or f"every clip, with {others}"

    def _look(self, group: Sequence[Evidence], repeat: int, progress: Mapping[str, Progress]) -> None:
        """Stop those that are known well enough, in the last of the least repeats and after it."""
        if repeat < self.settings.least_repeats - 1:
            return
        heard = {one.variant: progress[one.variant].durations_ns() for one in group}
        for one in group:
            one.look(heard[one.variant])
        for one in self._ended():
            if one in group and len(heard[one.variant]) >= max(_FEWEST, _SHARE * len(one.clips)):
                progress[one.variant].stop()

    def _look_at_batches(self, batches: int, progress: Mapping[str, Progress]) -> None:
        for each in progress.values():
            if self._precise(Repeated.of([each.durations_ns()], batches).half_width):
                each.stop()

    def _ended(self) -> list[Evidence]:
        """Those that are known well enough; the controls too, once every gated one is."""
        alive = self._alive()
        gated = [one for one in alive if one.record.gated]
        if gated and all(self._precise(one.reached) for one in gated):
            return alive
        return [one for one in alive if self._precise(one.reached)]

    def _precise(self, half_width: float | None) -> bool:
        return half_width is not None and half_width <= self.settings.precision

    def _alive(self) -> list[Evidence]:
        return [one for one in self.found if one.record.status == "measured"]

    def _groups(self, engines_: Sequence[Evidence]) -> list[Sequence[Evidence]]:
        """Those that take turns with each other: all, or each alone where they work apart."""
        return [[one] for one in engines_] if self._apart(engines_) or not engines_ else [engines_]

    def _apart(self, engines_: Sequence[Evidence]) -> str | None:
        """Why not all of these models can be loaded at once, None if they can."""
        if self.context.device == "gpu":
            return "none, as the memory of a GPU is told apart by who is alone on it"
        fit = _that_fit(self.prepared.model.bytes)
        return f"none, as the memory holds {fit} of {len(engines_)} models" if fit < len(engines_) else None

    def _take(
        self, asked: Sequence[Asked[Answer]], look: Callable[[Mapping[str, Progress]], None]
    ) -> list[ChildResult[Answer] | NightgateError]:
        return take_turns(asked, look=look, threads=self.settings.cores, device=self.context.device)

    def _work(self, one: Evidence, clips: Sequence[SavedClip], progress: Progress) -> Work:
        return Work(
            engine=engines.named(one.variant),
            model=self.prepared.for_engines(),
            device=self.context.device,
            threads=self.settings.cores,
            decoding=self.settings.decoding,
            clips=tuple(self.prepared.clips.folder / clip.file for clip in clips),
            progress=progress,
        )

    def _batches(self, one: Evidence, places: Sequence[int], size: int, progress: Progress) -> InBatches:
        most = min(size, len(places), _that_fit(self.prepared.model.bytes))
        if engines.has_batches(one.variant):  # contexts of one process would contend for Python's lock
            most = 1
        return InBatches(
            self._work(one, [one.clips[place] for place in places], progress),
            batch_size=size,
            passes=self.settings.batch_repeats,
            splits=tuple(splits(self.settings.cores, most, self.context.device)),
            in_one_call=engines.in_one_call(one.variant, self.settings.decoding),
            seconds_one_by_one=tuple(one.seconds_one_by_one(places)),
        )


def _pace(found: Sequence[Evidence]) -> list[float]:
    """See `pace.remember`; all engines have the host in common."""
    import numpy as np

    readings = np.concatenate([one.readings for one in found]) if found else np.array([])
    return pace.remember(paths.home(), blocks.fastest(readings)) if readings.size else []


def _add(
    one: Evidence, *, answer: ChildResult[Answer] | NightgateError, add: Callable[[Evidence, ChildResult[Answer]], None]
) -> None:
    if isinstance(answer, NightgateError):
        raise answer
    add(one, answer)


def whole_batches(clips: Sequence[SavedClip], seconds: float, size: int) -> list[int]:
    """Places of the first clips that make up ``seconds``, rounded up to whole batches as far as clips are left."""
    total, count = 0.0, 0
    while count < len(clips) and (total < seconds or count % size):
        total += clips[count].seconds
        count += 1
    return list(range(count))


def _that_fit(model_bytes: int) -> int:
    """Loaded models that half of the memory holds; one takes its weights and about as much again for its buffers."""
    return max(1, int(host.describe().memory_bytes / 2 // (2 * model_bytes + 2**28)))
