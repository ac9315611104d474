"""The transcripts of one engine, kept beside its record."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from nightgate.files import write_text
from nightgate.transcription.clips.folder import SavedClip
from nightgate.transcription.engines import Transcript


def write(file: Path, clips: Sequence[SavedClip], transcripts: Sequence[Transcript], seconds: Sequence[float]) -> None:
    """One line per clip, with the keys of the Open ASR leaderboard's manifests. Raw text: it is normalised only when it
    is scored.

    Args:
        seconds: that each clip took.
    """
    rows = [
        {
            "audio_filepath": clip.source or clip.file,
            "id": clip.id,
            "duration": clip.seconds,
            "time": time,
            "text": clip.text,
            "pred_text": transcript.text,
            "segments": [[segment.start, segment.end, segment.text] for segment in transcript.segments],
        }
        for clip, time, transcript in zip(clips, seconds, transcripts, strict=True)
    ]
    write_text(file, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
