"""How long a clip may be, and whether it is as long as it is said to be."""

from __future__ import annotations

from nightgate.errors import ArtifactError

SHORTEST_SECONDS = 0.1  # whisper.cpp does not decode less
LONGEST_SECONDS = 3600


def check_length(seconds: float, offset: float | None, duration: float | None, whole: float) -> None:
    """Compare a clip's length with what describes it (see `entry.Entry`). All in seconds.

    Args:
        whole: the length of the file that the clip is, or is cut from.

    Raises:
        ArtifactError: the clip is too short or too long, or more than 0.1 s and more than 1 % off; the sentence begins
            with a verb and wants the file's name before it.
    """
    off = duration is not None and abs(seconds - duration) > max(0.1, 0.01 * duration)
    if seconds > LONGEST_SECONDS:
        raise ArtifactError(f"is longer than {LONGEST_SECONDS} s: cut it into clips")
    if offset is not None and (off or seconds <= 0):
        end = "its end" if duration is None else f"{offset + duration:.2f} s"
        raise ArtifactError(f"lasts {whole:.2f} s, and the manifest cuts from {offset:.2f} s to {end}")
    if seconds <= 0:
        raise ArtifactError("is empty: it has a header and no samples")
    if off:
        raise ArtifactError(f"lasts {seconds:.2f} s, and the manifest says {duration:.2f} s")
    if seconds < SHORTEST_SECONDS:
        raise ArtifactError(f"lasts {1000 * seconds:.3g} ms, and Whisper hears nothing below 100 ms")


def check_span(whole: float, offset: float | None, duration: float | None) -> None:
    """`check_length` of the clip that is cut from a file of ``whole`` seconds."""
    start = offset or 0
    end = whole if offset is None or duration is None else min(whole, offset + duration)
    check_length(max(0.0, end - start), offset, duration, whole)
