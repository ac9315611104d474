"""What the processes of one engine brought home, and the figures that follow from it."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from nightgate.errors import NightgateError, NotMeasured
from nightgate.files import write_text
from nightgate.measure import estimates
from nightgate.measure.attempts import Attempts
from nightgate.measure.child import ChildResult
from nightgate.measure.device_memory import add_peak
from nightgate.metrics import MetricSpec
from nightgate.record import Record, utc_now
from nightgate.transcription import metrics, scoring
from nightgate.transcription.languages import AUTO, canonical

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger(__name__)


class Evidence(Attempts):
    """One engine: its record, and the raw figures as they come in.

    Args:
        language: what the run is told to hear, or `AUTO`; then a clip's own label says how its text is normalised.
    """

    def __init__(self, record: Record, clips: list[dict[str, Any]], language: str = "en") -> None:
        super().__init__(record)
        self.clips = clips
        self.languages = [_language(clip, language) for clip in clips]
        self.audio_seconds = sum(clip["seconds"] for clip in clips)
        self._processes: list[ChildResult] = []
        self._spent: list[np.ndarray] = []
        self._raw: dict[str, np.ndarray] = {}

    def add_process(self, child: ChildResult, spent: np.ndarray) -> None:
        """One process of `timed.one_by_one`; ``spent`` is int64 nanoseconds, shape (2, repeats, clips)."""
        self._processes.append(child)
        self._spent.append(spent)

    def attempt_beside(self, name: str, step: Callable[[Self], None]) -> None:
        """A step whose numbers no objective needs: when it fails, the record says so and keeps all others."""
        if self.record.status != "measured":
            return
        try:
            step(self)
        except NightgateError as error:
            log.error("%s: %s: %s", self.variant, name, error)
            self.record.detail.setdefault("not_measured", {})[name] = str(error)

    def seconds_one_by_one(self, places: list[int]) -> list[float]:
        """What the clips at ``places`` took on average when they were transcribed one after the other."""
        return (self._durations().mean(axis=0)[places] / 1e9).tolist()

    def add_batches(self, child: ChildResult, size: int, places: list[int]) -> None:
        """The process of `timed.in_batches`, which transcribed the clips at ``places`` in batches of ``size``."""
        import numpy as np

        value, seconds = child.value, np.array(child.value["seconds"])
        clips = [self.clips[place] for place in places]
        languages = [self.languages[place] for place in places]
        if self._heard_nothing(clips, value["texts"], languages):
            raise NotMeasured(f"{self.variant} heard nothing in any of {len(clips)} clips in batches")
        audio_seconds = sum(clip["seconds"] for clip in clips)
        errors, words = scoring.word_errors([clip["text"] for clip in clips], value["texts"], languages)
        alone = sum(self.seconds_one_by_one(places))
        self.record.detail["batch"] = {
            "size": size,
            "clips": len(places),
            "audio_seconds": audio_seconds,
            **{name: value[name] for name in ("contexts", "threads", "at_once", "calibration")},
            "speedup_over_one_by_one": alone / seconds.mean(),
            "wer": float(errors.sum() / words.sum()) if words.any() else None,
            "peak_rss_bytes": child.peak_rss_bytes,
        }
        if child.device_memory:
            self.record.detail["batch"]["peak_device_bytes"] = child.device_memory.peak_bytes
        self._put_ratio(metrics.BATCH_XRT, metrics.BATCH_RTFX, seconds, audio_seconds)
        self._raw |= {"batch_seconds": seconds, "batch_xrt_repeats": seconds / audio_seconds}

    def finish(self, samples: Path) -> dict[str, np.ndarray]:
        """Put the figures into the record and what was heard into ``<samples>-<variant>.jsonl``; returns the raw arrays."""
        self.attempt(Evidence._estimate)
        self.record.finished_at = utc_now()
        if self._spent:
            self._raw |= {"durations_ns": self._durations(), "first_segment_ns": self._first_segments()}
            self._write_transcripts(samples.with_name(f"{samples.stem}-{self.variant}.jsonl"))
            self.record.samples = samples.name
        if self.record.status != "measured":
            self.record.metrics.clear()  # the times stay as evidence, but nothing may be judged
        return {f"{self.variant}/{name}": array for name, array in self._raw.items()}

    def _estimate(self) -> None:
        import numpy as np

        first, texts = self._processes[0].value, self._texts()
        self.record.detail |= {"versions": {self.variant: first["version"]}, "ran_on": first["ran_on"]}
        self._must_hear_something(texts)
        if differ := [
            clip["id"] for clip, *said in zip(self.clips, texts, self._texts(-1), strict=True) if len({*said}) > 1
        ]:
            self.record.detail["heard_differently_the_second_time"] = differ
        durations, seconds = self._durations(), np.array([clip["seconds"] for clip in self.clips])
        self._put_ratio(metrics.XRT, metrics.RTFX, durations.sum(axis=1) / 1e9, self.audio_seconds)
        per_clip = np.median(durations, axis=0) / 1e9 / seconds
        self.record.add(metrics.XRT_P95, *estimates.quantile(per_clip, 0.95))
        waited = np.median(self._first_segments(), axis=0) / 1e9
        self.record.add(metrics.FIRST_SEGMENT, *estimates.quantile(waited, 0.5))
        self._put_errors(texts)
        loads = [child.value["load_seconds"] for child in self._processes]
        self.record.add(metrics.LOAD_SECONDS, float(np.mean(loads)), len(loads))
        self.record.add(metrics.PEAK_RSS, max(child.peak_rss_bytes for child in self._processes))
        add_peak(self.record, (child.device_memory for child in self._processes))
        self._raw["xrt_repeats"] = durations.sum(axis=1) / 1e9 / self.audio_seconds

    def _put_errors(self, texts: list[str]) -> None:
        """The error rates of words and of characters. Where nobody speaks in any clip there are none."""
        truths = [clip["text"] for clip in self.clips]
        for metric, unit, count in (
            (metrics.WER, "words", scoring.word_errors),
            (metrics.CER, "characters", scoring.character_errors),
        ):
            errors, sizes = count(truths, texts, self.languages)
            self._raw |= {f"{metric.name}_errors": errors, f"{metric.name}_{unit}": sizes}
            if sizes.any():
                self.record.add(metric, *estimates.error_rate(errors, sizes))

    def _put_ratio(
        self, time_ratio: MetricSpec, throughput: MetricSpec, seconds: np.ndarray, audio_seconds: float
    ) -> None:
        """The ratio of time to audio, and its inverse, which the Open ASR leaderboard calls RTFx."""
        value, n, bounds = estimates.ratio_of_sums(seconds, audio_seconds)
        self.record.add(time_ratio, value, n, bounds)
        turned = (1 / bounds[1], 1 / bounds[0]) if bounds and bounds[0] > 0 else None
        self.record.add(throughput, 1 / value, n, turned)

    def _must_hear_something(self, texts: list[str]) -> None:
        """A clip in which nothing was heard counts with all its words; an engine that hears nothing at all is broken."""
        if self._heard_nothing(self.clips, texts, self.languages):
            self.fail(f"{self.variant} returned no text for any of the {len(self.clips)} clips")
        missed = [
            clip["id"]
            for clip, text, language in zip(self.clips, texts, self.languages, strict=True)
            if scoring.says_something(clip["text"], language) and not scoring.says_something(text, language)
        ]
        if missed:
            self.record.detail["heard_nothing_in"] = missed

    @staticmethod
    def _heard_nothing(clips: list[dict[str, Any]], texts: list[str], languages: list[str]) -> bool:
        """Whether words were spoken in some of ``clips``, and nothing was heard in any of those."""
        spoken = [
            scoring.says_something(text, language)
            for clip, text, language in zip(clips, texts, languages, strict=True)
            if scoring.says_something(clip["text"], language)
        ]
        return bool(spoken) and not any(spoken)

    def _durations(self) -> np.ndarray:
        import numpy as np

        return np.concatenate([spent[0] for spent in self._spent])

    def _first_segments(self) -> np.ndarray:
        import numpy as np

        return np.concatenate([spent[1] for spent in self._spent])

    def _texts(self, process: int = 0) -> list[str]:
        segments = self._processes[process].value["transcripts"]
        return [" ".join(" ".join(text for _, _, text in heard).split()) for heard in segments]

    def _write_transcripts(self, file: Path) -> None:
        """One line per clip, with the keys of the Open ASR leaderboard's manifests. Raw text: it is normalised only
        when it is scored."""
        import numpy as np

        times = np.median(self._durations(), axis=0) / 1e9
        heard = self._processes[0].value["transcripts"]
        rows = [
            {"audio_filepath": clip.get("source", clip["file"]), "id": clip["id"], "duration": clip["seconds"],
             "time": float(time), "text": clip["text"], "pred_text": text, "segments": segments}
            for clip, time, text, segments in zip(self.clips, times, self._texts(), heard, strict=True)
        ]  # fmt: skip
        write_text(file, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def _language(clip: dict[str, Any], language: str) -> str:
    """How the text of ``clip`` is normalised."""
    if language != AUTO:
        return language
    label = clip.get("language")
    return (canonical(label) if label else None) or AUTO
