"""The model and the clips that are transcribed, from the cache, made where they are missing."""

from __future__ import annotations

from pathlib import Path

from nightgate.benchmark import Context
from nightgate.errors import InputError, NotMeasured, Unavailable
from nightgate.measure import devices
from nightgate.transcription import engines
from nightgate.transcription.clips.folder import ClipFacts, read_clips
from nightgate.transcription.clips.sets import clip_set, user_clip_set
from nightgate.transcription.languages import contradiction
from nightgate.transcription.models.resolve import resolve
from nightgate.transcription.prepared import PreparedClips, TranscriptionPrepared
from nightgate.transcription.settings import Settings


def prepare(settings: Settings, context: Context) -> TranscriptionPrepared:
    """See `Transcription.prepare`."""
    device = context.device
    if device == "gpu":
        devices.required("measure transcription on the cpu, or run on a host with one")
    missing = [engines.unavailable(variant, device, None, settings.decoding) for variant in settings.gated(device)]
    if all(missing):
        reason = "; ".join(str(error) for error in missing)
        raise Unavailable(reason) if device == "gpu" else NotMeasured(reason)
    model = resolve(settings.model, context.cache)
    if settings.clips:
        found = user_clip_set(Path(settings.clips), settings.exclude, context.cache)
    else:
        found = clip_set(settings.audio_seconds, context.cache)
    clips = PreparedClips(folder=found.path, facts=ClipFacts.model_validate(found.facts))
    if refusal := contradiction(settings.language, ((clip.id, clip.language) for clip in read_clips(clips.folder))):
        raise InputError(refusal)
    return TranscriptionPrepared(model=model, clips=clips)
