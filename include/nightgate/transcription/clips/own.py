"""The child's side of `sets.user_clip_set`: read the user's files, and name every one that cannot be used."""

from __future__ import annotations

import hashlib
import json
import logging
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from nightgate.errors import ArtifactError
from nightgate.transcription import scoring
from nightgate.transcription.clips import audio
from nightgate.transcription.clips.folder import save_clip, save_set

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger(__name__)

_MOST_NAMED = 10


def convert(request: dict[str, Any]) -> dict[str, Any]:
    """Fill ``request["folder"]`` from ``request["clips"]`` (id, path, name, text, duration, sha256); returns the facts.

    Raises:
        ArtifactError: one or more files cannot be used; the message names each, up to ten, with its reason.
    """
    folder, asked = Path(request["folder"]), request["clips"]
    clips: list[dict[str, Any]] = []
    bad: dict[str, str] = {}
    for number, clip in enumerate(asked):
        try:
            samples = _read(clip)
        except ArtifactError as error:
            bad[clip["id"]] = f"{clip['path']} {error.what}"
        else:
            known = {"id": clip["id"], "text": clip["text"], "source": clip["name"]}
            clips.append(save_clip(folder, f"{number:05}.npy", samples, **known))
        if number % 100 == 99:
            log.info("clips: %d of %d files read", number + 1, len(asked))
    if bad:
        raise _unusable(bad, len(asked))
    return save_set(folder, clips)


def _read(clip: dict[str, Any]) -> np.ndarray:
    path = Path(clip["path"])
    try:
        if path.stat().st_size >= audio.LARGEST_BYTES:
            raise ArtifactError("is larger than 2 GB")
        data = path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"cannot be read ({error.strerror})") from error
    if hashlib.sha256(data).hexdigest() != clip["sha256"]:
        raise ArtifactError("changed while it was read")
    samples = audio.decode(data, clip["duration"])
    if not scoring.says_something(clip["text"]):  # it takes away what stands in brackets, for example
        raise ArtifactError(f"has a text without a word that counts: {clip['text'][:60]!r}")
    return samples


def _unusable(bad: dict[str, str], count: int) -> ArtifactError:
    named = list(bad)[:_MOST_NAMED]
    left = len(bad) - len(named)
    override = shlex.quote(f"transcription.exclude=[{','.join(map(_in_a_list, named))}]")
    return ArtifactError(
        f"{len(bad)} of {count} clips cannot be used: {'; '.join(bad[name] for name in named)}"
        + (f"; and {left} more" if left else ""),
        f"mend them, or leave them out with --set {override}" + (" and so on" if left else ""),
    )


def _in_a_list(name: str) -> str:
    """The name as YAML reads it back in a list: ``0017`` and ``no`` bare would not come back as text."""
    try:
        bare = yaml.safe_load(f"[{name}]") == [name]
    except yaml.YAMLError:
        bare = False
    return name if bare else json.dumps(name, ensure_ascii=False)
