"""One file of the user's: from any format, rate and channel count to what an engine hears, whole or in segments."""

from __future__ import annotations

import io
import struct
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from nightgate.errors import ArtifactError
from nightgate.transcription.clips import mp3, wav
from nightgate.transcription.clips.content import Content, look_at
from nightgate.transcription.clips.length import LONGEST_SECONDS, check_length
from nightgate.transcription.clips.whole import check_whole
from nightgate.transcription.models.mel import SAMPLE_RATE

if TYPE_CHECKING:
    import numpy as np
    import soundfile

_LOUDEST = 2.0  # float files may pass 1 a little; far beyond it they hold something else than -1 to 1
_UNCOMPRESSED = ("WAV", "AIFF", "FLAC")  # others may pass it by far, where loud noise was compressed
_CANCELS = 0.25  # the energy of the sum of the channels, of what it is where they have nothing in common
_MOST_LOST = 0.1  # of the energy, in seconds of which the mix cancels out
_MP3_FRAME = 1152  # samples; a header may count one or two more than are decoded
_FFMPEG_SECONDS = "900"  # of CPU time


class Span(NamedTuple):
    """Which part of a file a clip is, in seconds. Without an offset it is all of it, and ``duration`` a claim."""

    offset: float | None = None
    duration: float | None = None


@dataclass(slots=True)
class Piece:
    """Samples of one span at the file's own rate, where more than ``loudest`` is an error.

    ``channel`` is the one taken, counted from 0; None where all were averaged.
    """

    span: Span
    rate: int
    loudest: float
    channel: int | None = None
    parts: list[np.ndarray] = field(default_factory=list)
    lost: float = 0.0
    energy: np.ndarray | None = None
    file_samples: int = 0

    def add(self, block: np.ndarray) -> None:
        """``block`` is float32, shape (samples, channels), about a second of it."""
        import numpy as np

        if self.channel is not None:
            self.parts.append(block[:, self.channel].copy())
            return
        with np.errstate(all="ignore"):  # a float file may hold anything: the whole of it is looked at in the end
            mix = block.mean(axis=1)
            energy = np.square(block, dtype=np.float64).sum(axis=0)
            mixed = np.square(mix, dtype=np.float64).sum() * block.shape[1] ** 2
            if mixed < _CANCELS * energy.sum():
                self.lost += float(energy.sum())
        self.parts.append(mix)
        self.energy = energy if self.energy is None else self.energy + energy

    @property
    def cancelled(self) -> bool:
        """Whether averaging takes away what the channels hold, as it does where one is the other upside down."""
        return self.energy is not None and self.lost > _MOST_LOST * self.energy.sum()

    def finished(self) -> np.ndarray:
        """float32, shape (samples,), 16 kHz mono, in [-1, 1]; resampled by soxr (high quality).

        Raises:
            ArtifactError: why it cannot be used, see `decode`.
        """
        import numpy as np
        import soxr

        samples = np.concatenate(self.parts) if self.parts else np.empty(0, dtype=np.float32)
        check_length(len(samples) / self.rate, *self.span, self.file_samples / self.rate)
        if not np.isfinite(samples).all():
            raise ArtifactError("holds samples that are not finite numbers")
        if (peak := float(np.abs(samples).max())) > self.loudest:
            raise ArtifactError(f"holds samples up to {peak:.3g} where full scale is 1")
        if self.rate != SAMPLE_RATE:
            samples = soxr.resample(samples, self.rate, SAMPLE_RATE)
        return np.clip(samples, -1, 1).astype(np.float32)


def decode(data: bytes, spans: Sequence[Span] = (Span(),), path: str | None = None) -> Iterator[tuple[int, Piece]]:
    """The pieces of the file that holds ``data``, each with its place in ``spans``, in the order in which they end.

    Channels are averaged. Where that would take away more than a tenth of the sound, the loudest one is taken.

    Args:
        path: where the file lies; only ffmpeg, which decodes what libsndfile does not, needs it.

    Raises:
        ArtifactError: what is wrong with the file; the sentence begins with a verb ("is empty") and wants its name
            put before it. What is wrong with one piece, `Piece.finished` raises.
    """
    content = look_at(io.BytesIO(data), len(data))
    data = data[content.start :]
    if content.name in ("WAV", "MP3 in a wav"):
        data = wav.canonical(data)
    if content.name in ("MP3", "MP3 in a wav"):
        data = mp3.counted(data)
    check_whole(content.name, data)
    cancelled: dict[int, int] = {}
    for place, piece in _pieces(content, data, path, dict(enumerate(spans)), {}):
        if piece.cancelled and piece.energy is not None:
            cancelled[place] = int(piece.energy.argmax())
        else:
            yield place, piece
    if cancelled:  # read once more: to keep every channel until here would take their number times the memory
        yield from _pieces(content, data, path, {place: spans[place] for place in cancelled}, cancelled)


def _pieces(
    content: Content, data: bytes, path: str | None, spans: dict[int, Span], channels: dict[int, int]
) -> Iterator[tuple[int, Piece]]:
    with _ffmpeg(path, content) if content.demuxer else _sndfile(data, content) as (rate, blocks):
        loudest = _LOUDEST if content.name in _UNCOMPRESSED else float("inf")
        pieces = {place: Piece(span, rate, loudest, channels.get(place)) for place, span in spans.items()}
        bounds = {place: _bounds(span, rate) for place, span in spans.items()}
        at = 0
        for block in blocks:
            for place in list(pieces):
                start, stop = bounds[place]
                part = block[max(0, start - at) : max(0, stop - at)]
                if len(part):
                    pieces[place].add(part)
                if at + len(block) >= stop:
                    yield place, pieces.pop(place)
            at += len(block)
            if not pieces:
                return
        for place, piece in pieces.items():
            piece.file_samples = at
            yield place, piece


def _bounds(span: Span, rate: int) -> tuple[int, int]:
    """First sample and the one after the last; of a clip that is too long, one more than it may have."""
    start = round((span.offset or 0) * rate)
    if span.offset is None or span.duration is None:
        return start, start + LONGEST_SECONDS * rate + 1
    return start, round((span.offset + span.duration) * rate)


@contextmanager
def _sndfile(data: bytes, content: Content) -> Iterator[tuple[int, Iterator[np.ndarray]]]:
    """The rate of the file, and its blocks: float32, shape (samples, channels)."""
    import soundfile

    class Forward(soundfile.SoundFile):  # type: ignore[misc] # the library has no types
        def seekable(self) -> bool:
            return False  # read forwards: a flac without a total cannot be sought in

    if content.name == "FLAC" and data[-128:-125] == b"TAG":
        data = data[:-128]  # of players; the decoder would lose its place in it
    try:
        file = Forward(io.BytesIO(data))
    except (soundfile.SoundFileError, RuntimeError) as error:
        raise ArtifactError(f"cannot be read as {content.name} ({_reason(error)})") from error
    with file:
        if file.samplerate < 1:
            raise ArtifactError(f"is damaged: its header names a rate of {file.samplerate} Hz")
        yield file.samplerate, _blocks(file)


def _blocks(file: soundfile.SoundFile) -> Iterator[np.ndarray]:
    import soundfile

    block = _block(file.samplerate, file.channels)
    count, known = 0, file.frames < 2**62
    try:
        while len(part := file.read(block, dtype="float32", always_2d=True)):
            count += len(part)
            yield part
    except (soundfile.SoundFileError, RuntimeError) as error:
        raise ArtifactError(f"is truncated or damaged ({_reason(error)})") from error
    if known and count < file.frames - (2 * _MP3_FRAME if file.format == "MP3" else 0):
        raise ArtifactError(f"is truncated or damaged: of {file.frames} samples, {count} are there")


def _block(rate: int, channels: int) -> int:
    """Samples of about a second; fewer where a header names more than there can be."""
    return max(1, min(rate, 2**20 // channels))


@contextmanager
def _ffmpeg(path: str | None, content: Content) -> Iterator[tuple[int, Iterator[np.ndarray]]]:
    """The same from ffmpeg, which writes Sun's AU with floats to a pipe: it ends with this process, and leaves no file.

    The demuxer is named and no protocol but files is open, so that a playlist in disguise opens nothing else.
    """
    if path is None:
        raise ValueError(f"{content.name} needs a path")
    source = ["-f", str(content.demuxer), "-protocol_whitelist", "file", "-i", f"file:{path}"]
    target = ["-map", "0:a", "-c:a", "pcm_f32be", "-f", "au", "pipe:1"]
    command = ["ffmpeg", "-nostdin", "-hide_banner", "-v", "error", "-timelimit", _FFMPEG_SECONDS, *source, *target]
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors) as process,
    ):
        output = process.stdout
        assert output is not None
        try:
            head = output.read(24)
            if len(head) < 24:
                process.wait()
                errors.seek(0)
                raise ArtifactError(_ffmpeg_says(content, errors.read(2000)))
            _, start, _, _, rate, channels = struct.unpack(">4s5I", head)
            output.read(start - 24)

            def blocks() -> Iterator[np.ndarray]:
                import numpy as np

                size = 4 * channels
                while data := output.read(_block(rate, channels) * size):
                    samples = np.frombuffer(data[: len(data) // size * size], ">f4")
                    yield samples.astype(np.float32).reshape(-1, channels)
                failed, _ = process.wait(), errors.seek(0)
                if (words := errors.read(2000)) or failed:
                    raise ArtifactError(_ffmpeg_says(content, words))

            yield rate, blocks()
        finally:
            process.kill()


def _ffmpeg_says(content: Content, words: bytes) -> str:
    text = words.decode(errors="replace").strip()
    if "only one stream" in text:
        return f"holds several sound tracks in {content.name}: keep one of them"
    if "matches no streams" in text:
        return f"holds {content.name} without a sound track"
    line = text.splitlines()[-1] if text else "ffmpeg gives no reason"
    return f"is truncated or damaged (ffmpeg, which reads it as {content.name}: {line[:200]})"


def _reason(error: Exception) -> str:
    """What libsndfile says, without the words that say nothing here."""
    text = str(getattr(error, "error_string", error)).removeprefix("Error : ").rstrip(".")
    return text or "the decoder lost its place"
