"""One owner per NIGHTGATE_HOME. The kernel drops the lock with its holder, so a stale file never blocks anyone."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import IO, Literal, TypedDict, Unpack

from nightgate.errors import BusyError
from nightgate.record import utc_now

Purpose = Literal["run", "up", "measure"]
"""One run without the schedule, the schedule left running, or the benchmark cluster only."""


_NAMES: dict[str, str] = {
    "run": "another `nightgate run`",
    "up": "`nightgate up`",
    "measure": "another `nightgate measure`",
}


class StackState(TypedDict, total=False):
    """What ``stack.json`` says: the first four from the start, the rest once the stack is ready."""

    purpose: Purpose
    pid: int
    since: str
    ready: bool
    url: str
    user: str
    bench_url: str
    results_url: str
    suite: str


class StackLock:
    """The lock and, beside it, ``stack.json``: who holds it, for what, and where the stack can be reached."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.state_file = home / "stack.json"
        self._file: IO[str] | None = None

    def acquire(self, purpose: Purpose) -> None:
        """Take the lock for ``purpose``.

        Raises:
            BusyError: someone holds it; the message says who and since when.
        """
        file = open(self.home / "stack.lock", "a")  # noqa: SIM115 - it stays open as long as the lock is held
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise BusyError(self._who(), "wait for it, stop it, or set another NIGHTGATE_HOME") from None
        self._file = file
        self.publish(purpose=purpose, pid=os.getpid(), since=utc_now(), ready=False)

    def publish(self, **facts: Unpack[StackState]) -> None:
        """Add facts to the state that others read."""
        draft = self.state_file.with_suffix(".tmp")
        with open(os.open(draft, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as out:
            json.dump({**(self._read() if self._file and "purpose" not in facts else {}), **facts}, out)
        draft.rename(self.state_file)

    def release(self) -> None:
        if self._file:
            self.state_file.unlink(missing_ok=True)
            self._file.close()
            self._file = None

    def holder(self) -> StackState | None:
        """The published state while someone else holds the lock, else None."""
        if not (self.home / "stack.lock").exists():
            return None
        with open(self.home / "stack.lock", "a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return self._read()
        return None

    def _read(self) -> StackState:
        try:
            state: StackState = json.loads(self.state_file.read_text())
        except (OSError, ValueError):
            return {}
        return state

    def _who(self) -> str:
        state = self._read()
        who = _NAMES.get(state.get("purpose", ""), "another Nightgate process")
        return f"{who} (pid {state.get('pid', '?')}, since {state.get('since', '?')}) uses {self.home}"
