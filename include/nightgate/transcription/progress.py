"""How far a process that transcribes has come: it writes, and its parent reads while it waits or when it is gone."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Marking = Callable[..., AbstractContextManager[None]]
"""The places of clips → a context in which they are at work."""

WAITING, AT_WORK, DONE = b"\0", b"\1", b"\2"


@dataclass(frozen=True)
class Progress:
    """The files of one process in an existing ``folder``: a mark for each clip, and the nanoseconds of each timed call.

    What is `AT_WORK` when the process is gone has brought it down. `stop` asks it to end when its next turn begins.
    """

    folder: Path

    @property
    def marks(self) -> Path:
        """The file with a byte per clip: `WAITING`, `AT_WORK` or `DONE`."""
        return self.folder / "marks"

    @property
    def enough(self) -> bool:
        """Whether the parent has said `stop`."""
        return self._stop.exists()

    @contextmanager
    def begun(self, clips: int) -> Iterator[Marking]:
        """Yields what marks clips as `AT_WORK` and then `DONE`; all of them are `WAITING` before. The marks are no part of
        what is timed one by one."""
        file = os.open(self.marks, os.O_RDWR | os.O_CREAT)
        os.truncate(file, 0)
        os.write(file, WAITING * clips)

        @contextmanager
        def at_work(*places: int) -> Iterator[None]:
            for place in places:
                os.pwrite(file, AT_WORK, place)
            yield
            for place in places:
                os.pwrite(file, DONE, place)  # not when it failed: then it is what failed

        try:
            yield at_work
        finally:
            os.close(file)

    def spent(self, nanoseconds: int) -> None:
        """Add what one more timed call took."""
        with open(self._durations, "ab") as file:
            file.write(nanoseconds.to_bytes(8, "little"))

    def durations_ns(self) -> npt.NDArray[np.int64]:
        """Of the timed calls so far, in their order: int64 nanoseconds, (calls,)."""
        import numpy as np

        written = self._durations.read_bytes() if self._durations.exists() else b""
        return np.frombuffer(written, dtype="<i8").astype(np.int64)

    def at_work(self) -> list[int]:
        """The places of the clips that it works on, or worked on when it ended."""
        marks = self.marks.read_bytes() if self.marks.exists() else b""
        return [place for place, mark in enumerate(marks) if mark == AT_WORK[0]]

    def stop(self) -> None:
        """Let it end when its next turn begins; it answers with what it has."""
        self._stop.touch()

    @property
    def _durations(self) -> Path:
        return self.folder / "durations"

    @property
    def _stop(self) -> Path:
        return self.folder / "stop"
