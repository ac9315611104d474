"""Processes of several engines that work in turns, and what became of each."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from nightgate.errors import NightgateError, NotMeasured
from nightgate.measure.child import ChildResult
from nightgate.measure.glancing import glance
from nightgate.measure.turns import Ask, run_in_turns
from nightgate.transcription.clips.folder import SavedClip
from nightgate.transcription.progress import Progress

_SLOWEST_XRT = 20  # a child slower than this is given up
_START_SECONDS = 120  # of a child, at most

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Asked(Generic[Answer]):
    """What the engine ``variant`` is asked: ``function``, a generator, of what ``request`` makes of its progress.
    ``audio_seconds``: of all that it transcribes of ``clips``, from above."""

    variant: str
    clips: Sequence[SavedClip]
    audio_seconds: float
    function: Callable[[Any], Generator[None, None, Answer]]
    request: Callable[[Progress], Any]


def take_turns(
    asked: Sequence[Asked[Answer]],
    *,
    look: Callable[[Mapping[str, Progress]], None],
    threads: int,
    device: str,
) -> list[ChildResult[Answer] | NightgateError]:
    """Ask each in a process of its own, see `run_in_turns`.

    Args:
        look: called while all of them wait, with the progress of each by its variant.

    Returns:
        in the order of ``asked`` what each answered, or the error it ended with, which names the clips it was at.
    """
    with tempfile.TemporaryDirectory(prefix="nightgate-progress-") as folder:
        progress = {one.variant: Progress(Path(folder, str(place))) for place, one in enumerate(asked)}
        for each in progress.values():
            each.folder.mkdir()

        def between() -> None:
            glance()
            look(progress)

        found = run_in_turns(
            [Ask(one.function, one.request(progress[one.variant])) for one in asked],
            threads=threads,
            device=device,
            timeout=sum(_START_SECONDS + _SLOWEST_XRT * one.audio_seconds for one in asked),  # it waits for the others
            between=between,
        )
        return [
            _named(result, one, progress[one.variant]) if isinstance(result, NightgateError) else result
            for one, result in zip(asked, found, strict=True)
        ]


def _named(error: NightgateError, one: Asked[Any], progress: Progress) -> NightgateError:
    """``error`` with the clips that the engine was at."""
    at_work = [one.clips[place].id for place in progress.at_work() if place < len(one.clips)]
    if not isinstance(error, NotMeasured) or not at_work:
        return error
    return type(error)(f"{one.variant} failed on the clip {' or '.join(at_work)}: {error.what}", error.next_step)
