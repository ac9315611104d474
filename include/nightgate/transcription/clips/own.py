"""The child's side of `sets.user_clip_set`: read the user's files, and name every one that cannot be used."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nightgate.errors import ArtifactError
from nightgate.transcription.clips import audio
from nightgate.transcription.clips.entry import unusable
from nightgate.transcription.clips.folder import ClipFacts, Known, SavedClip, save_clip, save_set
from nightgate.transcription.clips.wav import LARGEST_BYTES

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class OwnClip:
    """One clip to read. ``name`` is that of the file, ``sha256`` its digest, None where it could not be read.

    ``offset``, ``duration`` and ``language`` as in `entry.Entry`.
    """

    id: str
    path: str
    name: str
    text: str
    offset: float | None
    duration: float | None
    language: str | None
    sha256: str | None


@dataclass(frozen=True)
class OwnRequest:
    """Where to put the clips, and what they are made of."""

    folder: Path
    clips: Sequence[OwnClip]


def convert(request: OwnRequest) -> ClipFacts:
    """Fill the folder with the clips; returns the facts of the set.

    Raises:
        ArtifactError: one or more files cannot be used; the message names each, up to ten, with its reason.
    """
    asked = request.clips
    saved: dict[int, SavedClip] = {}
    bad: dict[int, str] = {}
    by_file: dict[str, list[int]] = {}
    for number, clip in enumerate(asked):
        by_file.setdefault(clip.path, []).append(number)
    for path, numbers in by_file.items():
        try:
            spans = [audio.Span(asked[number].offset, asked[number].duration) for number in numbers]
            for place, piece in audio.decode(_read(Path(path), asked[numbers[0]].sha256), spans, path):
                number = numbers[place]
                try:
                    saved[number] = _saved(request.folder, number, asked[number], piece)
                except ArtifactError as error:
                    bad[number] = f"{path} {error.what}"
        except ArtifactError as error:
            bad |= {number: f"{path} {error.what}" for number in numbers if number not in saved}
        if (done := len(saved) + len(bad)) // 100 > (done - len(numbers)) // 100:
            log.info("clips: %d of %d read", done, len(asked))
    if bad:
        names = {asked[number].id: bad[number] for number in sorted(bad)}
        raise ArtifactError(*unusable(names, len(asked)))
    facts = save_set(request.folder, [saved[number] for number in sorted(saved)])
    taken = {clip.id: clip.channel for clip in saved.values() if clip.channel is not None}
    return facts.model_copy(update={"one_channel": taken or None})


def _read(path: Path, sha256: str | None) -> bytes:
    try:
        if path.stat().st_size >= LARGEST_BYTES:
            raise ArtifactError("is larger than 2 GB")
        data = path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"cannot be read ({error.strerror})") from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise ArtifactError("changed while it was read")
    return data


def _saved(folder: Path, number: int, clip: OwnClip, piece: audio.Piece) -> SavedClip:
    if piece.channel is not None:
        log.warning("%s: its channels cancel out, channel %d is taken alone", clip.id, piece.channel)
    known = Known(
        id=clip.id,
        text=clip.text,
        source=clip.name,
        offset=clip.offset,
        language=clip.language,
        channel=piece.channel,
    )
    return save_clip(folder, f"{number:05}.npy", piece.finished(), known)
