"""What is gathered of one engine from its processes, and the figures that follow from it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nightgate.errors import NotMeasured
from nightgate.facts import Pace, Provenance
from nightgate.measure import blocks, estimates
from nightgate.measure.attempts import Attempts
from nightgate.measure.child import ChildResult
from nightgate.measure.device_memory import add_peak
from nightgate.metrics import MetricSpec
from nightgate.record import Record, utc_now
from nightgate.transcription import metrics, scoring, transcripts
from nightgate.transcription.clips.folder import SavedClip
from nightgate.transcription.detail import Batch, Calibration, Detail
from nightgate.transcription.languages import AUTO, canonical
from nightgate.transcription.repeats import Repeated
from nightgate.transcription.timed import InBatchesAnswer, OneByOneAnswer

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class Evidence(Attempts):
    """One engine: its record, and the raw figures as they come in.

    Args:
        language: that of the run, or `AUTO`; then a clip's own label says how its text is normalised.
        detail: what is known before anything is measured.
    """

    def __init__(
        self, record: Record, clips: Sequence[SavedClip], language: str = "en", detail: Detail | None = None
    ) -> None:
        super().__init__(record)
        self.clips = list(clips)
        self.languages = [_language(clip, language) for clip in clips]
        self.audio_seconds = sum(clip.seconds for clip in clips)
        self.detail = detail or Detail()
        self.by_clip = False
        """Whether it took turns with others clip by clip."""
        self.reached: float | None = None
        """How well the time of all clips is known by now: half of its 95 % interval, over it."""
        self._processes: list[ChildResult[OneByOneAnswer]] = []
        self._raw: dict[str, npt.NDArray[np.generic]] = {}

    def add_process(self, child: ChildResult[OneByOneAnswer]) -> None:
        """One process of `timed.one_by_one`, which is one repeat."""
        self._processes.append(child)
        self.look()

    def look(self, *heard: npt.NDArray[np.int64]) -> None:
        """See how well the time of all clips is known, with what another repeat has ``heard`` so far, int64 ns, (clips,)."""
        self.reached = Repeated.of([*self._durations(), *heard], len(self.clips)).half_width

    def seconds_one_by_one(self, places: Sequence[int]) -> list[float]:
        """What the clips at ``places`` took on average when they were transcribed one after the other."""
        means = self._speed().means / 1e9
        return [float(means[place]) for place in places]

    def add_batches(self, child: ChildResult[InBatchesAnswer], size: int, places: Sequence[int]) -> None:
        """The process of `timed.in_batches`, which transcribed the clips at ``places`` in batches of ``size``."""
        answer = child.value
        clips, languages = [self.clips[place] for place in places], [self.languages[place] for place in places]
        if self._all_silent(clips, answer.texts, languages):
            raise NotMeasured(f"{self.variant} heard nothing in any of {len(clips)} clips in batches")
        audio_seconds = sum(clip.seconds for clip in clips)
        errors, words = scoring.word_errors([clip.text for clip in clips], answer.texts, languages)
        passes = Repeated(answer.seconds)
        one_by_one = sum(self.seconds_one_by_one(places))
        batch = Batch(
            size=size,
            clips=len(places),
            audio_seconds=audio_seconds,
            contexts=answer.way.contexts,
            threads=answer.way.threads,
            at_once=answer.way.at_once,
            calibration=[
                Calibration(
                    contexts=trial.way.contexts,
                    threads=trial.way.threads,
                    at_once=trial.way.at_once,
                    seconds=trial.seconds,
                )
                for trial in answer.trials
            ],
            speedup_over_one_by_one=one_by_one / passes.total,
            wer=float(errors.sum() / words.sum()) if words.any() else None,
            peak_rss_bytes=child.peak_rss_bytes,
        )
        if memory := child.device_memory:
            batch = batch.model_copy(update={"peak_device_bytes": memory.peak_bytes})
        self.detail.batch = batch
        self._put_ratio(metrics.BATCH_XRT, metrics.BATCH_RTFX, passes, audio_seconds)
        whole = passes.levels * passes.total
        self._raw |= {"batch_seconds": whole, "batch_xrt_repeats": whole / audio_seconds}

    @property
    def readings(self) -> npt.NDArray[np.int64]:
        """Of the reference computation beside every clip that was heard, int64 ns, (clips heard,)."""
        beside = self._rows("beside_ns")
        return beside[beside > 0]

    def finish(self, samples: Path, pace: Sequence[float] = ()) -> dict[str, npt.NDArray[np.generic]]:
        """Put the figures into the record and the transcripts into ``<samples>-<variant>.jsonl``; returns the raw arrays.

        Args:
            pace: see `pace.remember`.
        """
        self.attempt(Evidence._estimate)
        if pace and self.record.status == "measured":
            self._put_states(pace)
        self.record.finished_at = utc_now()
        if self._processes:
            self._raw |= {name: self._rows(name) for name in ("durations_ns", "first_segment_ns", "beside_ns")}
            self._write_transcripts(samples.with_name(f"{samples.stem}-{self.variant}.jsonl"))
            self.record.samples = samples.name
        if self.record.status != "measured":
            self.record.metrics.clear()  # the times stay as evidence, but nothing may be judged
        self.record.detail |= self.detail.as_data()
        return {f"{self.variant}/{name}": array for name, array in self._raw.items()}

    def _estimate(self) -> None:
        import numpy as np

        first, texts = self._processes[0].value, self._texts()
        self.record.facts.provenance = Provenance(versions=dict(first.versions))
        self.detail.ran_on = first.ran_on
        self._must_hear_something(texts)
        if differ := self._heard_differently():
            self.detail.heard_differently_the_second_time = differ
        speed, seconds = self._speed(), np.array([clip.seconds for clip in self.clips])
        self._put_ratio(metrics.XRT, metrics.RTFX, speed, self.audio_seconds * 1e9)
        per_clip = _medians(speed.times) / 1e9 / seconds
        self.record.add(metrics.XRT_P95, *estimates.quantile(per_clip, 0.95))
        waited = _medians(self._rows("first_segment_ns")) / 1e9
        self.record.add(metrics.FIRST_SEGMENT, *estimates.quantile(waited, 0.5))
        self._put_errors(texts)
        loads = [child.value.load_seconds for child in self._processes]
        self.record.add(metrics.LOAD_SECONDS, float(np.mean(loads)), len(loads))
        self.record.add(metrics.PEAK_RSS, max(child.peak_rss_bytes for child in self._processes))
        add_peak(self.record, (child.device_memory for child in self._processes))
        self._raw["xrt_repeats"] = speed.levels * speed.total / 1e9 / self.audio_seconds
        if self.by_clip:
            self._raw["round_seconds"] = np.where(speed.times > 0, speed.times / 1e9, np.nan).ravel()

    def _put_states(self, pace: Sequence[float]) -> None:
        fastest = min(pace)
        self.record.facts.pace = Pace(fastest_seconds=fastest / 1e9, measurements=len(pace), within=blocks.WITHIN)
        fast = blocks.fast(self.readings, fastest)
        self.record.add(metrics.FAST_SHARE, float(fast.mean()), len(fast))

    def _put_errors(self, texts: list[str]) -> None:
        """The error rates of words and of characters. Where nobody speaks in any clip there are none."""
        truths = [clip.text for clip in self.clips]
        for metric, unit, count in (
            (metrics.WER, "words", scoring.word_errors),
            (metrics.CER, "characters", scoring.character_errors),
        ):
            errors, sizes = count(truths, texts, self.languages)
            self._raw |= {f"{metric.name}_errors": errors, f"{metric.name}_{unit}": sizes}
            if sizes.any():
                self.record.add(metric, *estimates.error_rate(errors, sizes))

    def _put_ratio(self, time_ratio: MetricSpec, throughput: MetricSpec, times: Repeated, audio: float) -> None:
        """The ratio of time to audio, and its inverse, which the Open ASR leaderboard calls RTFx."""
        value, n, bounds = times.over(audio)
        self.record.add(time_ratio, value, n, bounds)
        turned = (1 / bounds[1], 1 / bounds[0]) if bounds and bounds[0] > 0 else None
        self.record.add(throughput, 1 / value, n, turned)

    def _must_hear_something(self, texts: list[str]) -> None:
        """A clip without a transcript counts with all its words; an engine that has none at all is broken."""
        if self._all_silent(self.clips, texts, self.languages):
            self.fail(f"{self.variant} returned no text for any of the {len(self.clips)} clips")
        missed = [
            clip.id
            for clip, text, language in zip(self.clips, texts, self.languages, strict=True)
            if scoring.says_something(clip.text, language) and not scoring.says_something(text, language)
        ]
        if missed:
            self.detail.heard_nothing_in = missed

    @staticmethod
    def _all_silent(clips: Sequence[SavedClip], texts: Sequence[str], languages: Sequence[str]) -> bool:
        """Whether words are spoken in some of ``clips``, and the transcripts of all those are empty."""
        spoken = [
            scoring.says_something(text, language)
            for clip, text, language in zip(clips, texts, languages, strict=True)
            if scoring.says_something(clip.text, language)
        ]
        return bool(spoken) and not any(spoken)

    def _durations(self) -> list[npt.NDArray[np.int64]]:
        return [child.value.durations_ns for child in self._processes]

    def _speed(self) -> Repeated:
        return Repeated.of(self._durations(), len(self.clips))

    def _rows(self, name: str) -> npt.NDArray[np.int64]:
        """Of every process the array ``name`` of its answer: int64, (repeats, clips), without processes that heard nothing."""
        import numpy as np

        heard = [child.value for child in self._processes if child.value.durations_ns.any()]
        return np.array([getattr(answer, name) for answer in heard], np.int64).reshape(len(heard), len(self.clips))

    def _texts(self, process: int = 0) -> list[str]:
        return [transcript.text for transcript in self._processes[process].value.transcripts]

    def _heard_differently(self) -> list[str]:
        """The clips in which a later process heard something else than the first."""
        differ = set()
        for process, durations in enumerate(self._durations()):
            same_clips = self._texts()[: int((durations > 0).sum())]
            texts = zip(same_clips, self._texts(process), strict=True)
            differ |= {place for place, (first, later) in enumerate(texts) if first != later}
        return [self.clips[place].id for place in sorted(differ)]

    def _write_transcripts(self, file: Path) -> None:
        seconds = [float(time) for time in _medians(self._speed().times) / 1e9]
        transcripts.write(file, self.clips, self._processes[0].value.transcripts, seconds)


def _medians(times: npt.NDArray[np.float64] | npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Of each clip, over the repeats that heard it: (clips,) of (repeats, clips)."""
    import numpy as np

    medians: npt.NDArray[np.float64] = np.nanmedian(np.where(times > 0, times, np.nan), axis=0)
    return medians


def _language(clip: SavedClip, language: str) -> str:
    """How the text of ``clip`` is normalised."""
    if language != AUTO:
        return language
    return (canonical(clip.language) if clip.language else None) or AUTO
