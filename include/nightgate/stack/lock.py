"""One owner per NIGHTGATE_HOME. The kernel drops the lock with its holder, so a stale file never blocks anyone."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Literal, TypedDict, Unpack

from filelock import FileLock, Timeout

from nightgate.errors import BusyError
from nightgate.files import write_text
from nightgate.record import utc_now

Purpose = Literal["run", "up", "measure", "results"]
"""One run without the schedule, the schedule left running, the benchmark cluster only, or that of the results only."""


_NAMES: dict[str, str] = {
    "run": "another `nightgate run`",
    "up": "`nightgate up`",
    "measure": "another `nightgate measure`",
    "results": "another `nightgate results`",
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


_MOMENT, _POLL = 0.2, 0.02  # seconds: who only looks whether it is held has it for less


class StackLock:
    """The lock and, beside it, ``stack.json``: who holds it, for what, and where the stack can be reached."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.state_file = home / "stack.json"
        self._lock = FileLock(home / "stack.lock", thread_local=False)

    def acquire(self, purpose: Purpose) -> None:
        """Take the lock for ``purpose``.

        Raises:
            BusyError: someone holds it; the message says who and since when.
        """
        try:
            self._lock.acquire(_MOMENT, _POLL)
        except Timeout:
            raise BusyError(self._who(), "wait for it, stop it, or set another NIGHTGATE_HOME") from None
        self.publish(purpose=purpose, pid=os.getpid(), since=utc_now(), ready=False)

    def publish(self, **facts: Unpack[StackState]) -> None:
        """Add facts to the state that others read."""
        known = self._read() if self._lock.is_locked and "purpose" not in facts else {}
        write_text(self.state_file, json.dumps({**known, **facts}), mode=0o600)

    def release(self) -> None:
        if self._lock.is_locked:
            self.state_file.unlink(missing_ok=True)
            self._lock.release()

    def holder(self) -> StackState | None:
        """The published state while someone else holds the lock, else None."""
        if not (self.home / "stack.lock").exists():
            return None
        try:
            FileLock(self.home / "stack.lock").acquire(_MOMENT, _POLL).lock.release()
        except Timeout:
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
