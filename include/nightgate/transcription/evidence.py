"""What is gathered of one engine from its processes, and the figures that follow from it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nightgate.errors import NotMeasured
from nightgate.facts import Provenance
from nightgate.measure import estimates
from nightgate.measure.attempts import Attempts
from nightgate.measure.child import ChildResult
from nightgate.measure.device_memory import add_peak
from nightgate.metrics import MetricSpec
from nightgate.record import Record, utc_now
from nightgate.transcription import metrics, scoring, transcripts
from nightgate.transcription.clips.folder import SavedClip
from nightgate.transcription.detail import Batch, Calibration, Detail
from nightgate.transcription.languages import AUTO, canonical
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
        self._processes: list[ChildResult[OneByOneAnswer]] = []
        self._raw: dict[str, npt.NDArray[np.generic]] = {}

    def add_process(self, child: ChildResult[OneByOneAnswer]) -> None:
        """One process of `timed.one_by_one`."""
        self._processes.append(child)

    def seconds_one_by_one(self, places: Sequence[int]) -> list[float]:
        """What the clips at ``places`` took on average when they were transcribed one after the other."""
        means = self._durations().mean(axis=0) / 1e9
        return [float(means[place]) for place in places]

    def add_batches(self, child: ChildResult[InBatchesAnswer], size: int, places: Sequence[int]) -> None:
        """The process of `timed.in_batches`, which transcribed the clips at ``places`` in batches of ``size``."""
        answer = child.value
        clips, languages = [self.clips[place] for place in places], [self.languages[place] for place in places]
        if self._all_silent(clips, answer.texts, languages):
            raise NotMeasured(f"{self.variant} heard nothing in any of {len(clips)} clips in batches")
        audio_seconds = sum(clip.seconds for clip in clips)
        errors, words = scoring.word_errors([clip.text for clip in clips], answer.texts, languages)
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
            speedup_over_one_by_one=one_by_one / float(answer.seconds.mean()),
            wer=float(errors.sum() / words.sum()) if words.any() else None,
            peak_rss_bytes=child.peak_rss_bytes,
        )
        if memory := child.device_memory:
            batch = batch.model_copy(update={"peak_device_bytes": memory.peak_bytes})
        self.detail.batch = batch
        self._put_ratio(metrics.BATCH_XRT, metrics.BATCH_RTFX, answer.seconds, audio_seconds)
        self._raw |= {"batch_seconds": answer.seconds, "batch_xrt_repeats": answer.seconds / audio_seconds}

    def finish(self, samples: Path) -> dict[str, npt.NDArray[np.generic]]:
        """Put the figures into the record and the transcripts into ``<samples>-<variant>.jsonl``; returns the raw arrays."""
        self.attempt(Evidence._estimate)
        self.record.finished_at = utc_now()
        if self._processes:
            self._raw |= {"durations_ns": self._durations(), "first_segment_ns": self._first_segments()}
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
        if differ := [
            clip.id for clip, *both in zip(self.clips, texts, self._texts(-1), strict=True) if len({*both}) > 1
        ]:
            self.detail.heard_differently_the_second_time = differ
        durations, seconds = self._durations(), np.array([clip.seconds for clip in self.clips])
        self._put_ratio(metrics.XRT, metrics.RTFX, durations.sum(axis=1) / 1e9, self.audio_seconds)
        per_clip = np.median(durations, axis=0) / 1e9 / seconds
        self.record.add(metrics.XRT_P95, *estimates.quantile(per_clip, 0.95))
        waited = np.median(self._first_segments(), axis=0) / 1e9
        self.record.add(metrics.FIRST_SEGMENT, *estimates.quantile(waited, 0.5))
        self._put_errors(texts)
        loads = [child.value.load_seconds for child in self._processes]
        self.record.add(metrics.LOAD_SECONDS, float(np.mean(loads)), len(loads))
        self.record.add(metrics.PEAK_RSS, max(child.peak_rss_bytes for child in self._processes))
        add_peak(self.record, (child.device_memory for child in self._processes))
        self._raw["xrt_repeats"] = durations.sum(axis=1) / 1e9 / self.audio_seconds

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

    def _put_ratio(
        self, time_ratio: MetricSpec, throughput: MetricSpec, seconds: npt.NDArray[np.float64], audio_seconds: float
    ) -> None:
        """The ratio of time to audio, and its inverse, which the Open ASR leaderboard calls RTFx."""
        value, n, bounds = estimates.ratio_of_sums(seconds, audio_seconds)
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

    def _durations(self) -> npt.NDArray[np.int64]:
        import numpy as np

        return np.concatenate([child.value.durations_ns for child in self._processes])

    def _first_segments(self) -> npt.NDArray[np.int64]:
        import numpy as np

        return np.concatenate([child.value.first_segment_ns for child in self._processes])

    def _texts(self, process: int = 0) -> list[str]:
        return [transcript.text for transcript in self._processes[process].value.transcripts]

    def _write_transcripts(self, file: Path) -> None:
        import numpy as np

        seconds = [float(time) for time in np.median(self._durations(), axis=0) / 1e9]
        transcripts.write(file, self.clips, self._processes[0].value.transcripts, seconds)


def _language(clip: SavedClip, language: str) -> str:
    """How the text of ``clip`` is normalised."""
    if language != AUTO:
        return language
    return (canonical(clip.language) if clip.language else None) or AUTO
