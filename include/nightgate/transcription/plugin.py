"""The transcription benchmark: how long an engine takes for a second of speech (xRT), and how many words it gets wrong
(WER)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import ClassVar

from nightgate.benchmark import Benchmark, Context, Gauge, Looked
from nightgate.metrics import MetricSpec
from nightgate.objectives import Limit
from nightgate.record import Record
from nightgate.suite import Needs, Takes
from nightgate.transcription import looking, measuring, preparing
from nightgate.transcription.looking import TranscriptionLooked
from nightgate.transcription.metrics import BATCH_RTFX, BATCH_XRT, HEADLINES, METRICS, XRT
from nightgate.transcription.prepared import TranscriptionPrepared
from nightgate.transcription.settings import Settings

_SLOWEST = "Processing time per audio time of the slowest gated engine in the newest run."


class Transcription(Benchmark[Settings, TranscriptionPrepared]):
    name = "transcription"
    title = "Transcription"
    settings = Settings
    looked = TranscriptionLooked
    prepared = TranscriptionPrepared
    metrics: ClassVar[tuple[MetricSpec, ...]] = METRICS
    headlines = HEADLINES
    tools = ("model",)

    def look(self, settings: Settings, services: Mapping[str, str]) -> TranscriptionLooked:
        """The kind of the model; of the user's clips how many and how long they are, and what judges them.

        Raises:
            InputError: a file is not what it should be, the model does not know the language, the clips are in another,
                or no gated engine can read the model.
        """
        return looking.look(settings)

    def needs(self, settings: Settings, looked: Looked) -> Needs:
        return looking.needs(settings, _own(looked))

    def takes(self, settings: Settings, looked: Looked) -> Takes:
        return looking.takes(settings, _own(looked))

    def applicable(
        self, settings: Settings, looked: Looked, limits: Mapping[str, Mapping[str, Limit]]
    ) -> dict[str, dict[str, Limit]]:
        """An objective on ``wer`` holds for ``cer`` in a language whose words cannot be counted, unless the suite has
        one of its own on ``cer``."""
        found = super().applicable(settings, looked, limits)
        if _own(looked).judged_by == "cer" and (of := found.pop("wer", None)) is not None:
            found.setdefault("cer", of)
        return found

    def prepare(self, settings: Settings, context: Context) -> TranscriptionPrepared:
        """The model as a ggml file and the clips, both from the cache.

        Raises:
            Unavailable: the device is "gpu" and the host has none, or no gated engine runs on it.
            InputError: the model or the clips are gone, or a clip is labelled with another language than the run's.
            NotMeasured: no gated engine is installed. DriverError: the GPU's driver does not work.
            ArtifactError: the model or a clip is not usable.
        """
        return preparing.prepare(settings, context)

    def measure(self, settings: Settings, prepared: TranscriptionPrepared, context: Context) -> list[Record]:
        """One record per variant that is made for the device; one that is not installed is skipped with the install line.

        Every repeat of every engine is a fresh process. They take turns clip by clip, in the opposite order every other time,
        so that a host that slows down meanwhile slows all of them. Where their models do not fit into memory together, and on
        a GPU, they take turns process by process. It ends when xRT is as exact as ``settings.precision`` says, or after
        ``settings.repeats``; see `repeats.Repeated` for how exact it is.

        ``context.samples`` gets, per variant: durations_ns, first_segment_ns and beside_ns (see `timed.OneByOneAnswer`),
        int64, (repeats, clips), 0 where the last repeat had ended; xrt_repeats, float64, (repeats,); round_seconds, float64, (rounds,), where they took turns clip by
        clip: the times of what different variants have at the same place were taken right after each other, NaN where
        one had ended; wer_errors, wer_words, cer_errors and cer_characters, int64, (clips,);
        batch_seconds and batch_xrt_repeats, float64, (passes,). The transcripts go to ``<samples>-<variant>.jsonl``
        beside it.
        """
        return measuring.measure(self, settings, prepared, context)

    def to_confirm(self, settings: Settings, metrics: Sequence[str]) -> Settings:
        """The same clips, without controls, and without batches where these are not asked for."""
        asked = {BATCH_XRT.name, BATCH_RTFX.name} & {*metrics}
        return super().to_confirm(settings, metrics).model_copy(update={} if asked else {"batch_repeats": 0})

    def gauges(self, records: Iterable[Record]) -> Iterator[Gauge]:
        """``whisper_xrt``: per device the highest xRT among the gated engines."""
        slowest: dict[str, float] = {}
        for record in records:
            if record.gated and record.status == "measured" and (xrt := record.metrics.get(XRT.name)):
                slowest[record.device] = max(xrt.value, slowest.get(record.device, 0.0))
        for device, value in slowest.items():
            yield Gauge("whisper_xrt", _SLOWEST, {"device": device}, value)


def _own(looked: Looked) -> TranscriptionLooked:
    assert isinstance(looked, TranscriptionLooked)
    return looked


BENCHMARK = Transcription()
