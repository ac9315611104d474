"""The child's side of `sets.user_clip_set`: read the user's files, and name every one that cannot be used."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Any

from nightgate.errors import ArtifactError
from nightgate.transcription.clips import audio
from nightgate.transcription.clips.entry import unusable
from nightgate.transcription.clips.folder import save_clip, save_set
from nightgate.transcription.clips.wav import LARGEST_BYTES

log = logging.getLogger(__name__)


def convert(request: dict[str, Any]) -> dict[str, Any]:
    """Fill ``request["folder"]`` from ``request["clips"]``; returns the facts of the set.

    Each clip has id, path, name, text, offset, duration, language and sha256 (of the file). The facts are those of
    `folder.save_set` and, where a mix of the channels would have been silence, ``one_channel``: which was taken, from
    0, by clip.

    Raises:
        ArtifactError: one or more files cannot be used; the message names each, up to ten, with its reason.
    """
    folder, asked = Path(request["folder"]), request["clips"]
    found: dict[int, dict[str, Any]] = {}
    bad: dict[int, str] = {}
    by_file: dict[str, list[int]] = {}
    for number, clip in enumerate(asked):
        by_file.setdefault(clip["path"], []).append(number)
    for path, numbers in by_file.items():
        try:
            spans = [audio.Span(asked[number]["offset"], asked[number]["duration"]) for number in numbers]
            for place, piece in audio.decode(_read(Path(path), asked[numbers[0]]["sha256"]), spans, path):
                number = numbers[place]
                try:
                    found[number] = _saved(folder, number, asked[number], piece)
                except ArtifactError as error:
                    bad[number] = f"{path} {error.what}"
        except ArtifactError as error:
            bad |= {number: f"{path} {error.what}" for number in numbers if number not in found}
        if (done := len(found) + len(bad)) // 100 > (done - len(numbers)) // 100:
            log.info("clips: %d of %d read", done, len(asked))
    if bad:
        names = {asked[number]["id"]: bad[number] for number in sorted(bad)}
        raise ArtifactError(*unusable(names, len(asked)))
    facts = save_set(folder, [found[number] for number in sorted(found)])
    taken = {clip["id"]: clip["channel"] for clip in found.values() if "channel" in clip}
    return facts | ({"one_channel": taken} if taken else {})


def _read(path: Path, sha256: str) -> bytes:
    try:
        if path.stat().st_size >= LARGEST_BYTES:
            raise ArtifactError("is larger than 2 GB")
        data = path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"cannot be read ({error.strerror})") from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise ArtifactError("changed while it was read")
    return data


def _saved(folder: Path, number: int, clip: dict[str, Any], piece: audio.Piece) -> dict[str, Any]:
    known = {"id": clip["id"], "text": clip["text"], "source": clip["name"]}
    known |= {name: clip[name] for name in ("offset", "language") if clip[name] is not None}
    if piece.channel is not None:
        known["channel"] = piece.channel
        log.warning("%s: its channels cancel out, channel %d is taken alone", clip["id"], piece.channel)
    return save_clip(folder, f"{number:05}.npy", piece.finished(), **known)
