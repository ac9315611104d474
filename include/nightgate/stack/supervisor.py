"""`nightgate up`: a detached process that holds the stack until it is told to stop."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

import psutil

from nightgate import paths
from nightgate.errors import InputError, StackError
from nightgate.stack.lock import StackLock, StackState
from nightgate.stack.stack import Stack

_START_TIMEOUT = 240.0
_STOP_TIMEOUT = 60.0


def up(home: Path, port: int | None) -> StackState:
    """Start the supervisor and wait until the stack is ready; returns its state. A stack that is up already is fine."""
    lock = StackLock(home)
    if (state := lock.holder()) and state.get("purpose") == "up" and state.get("ready"):
        check_suite(state)
        return state
    log_file = home / "logs" / "supervisor.log"
    log_file.parent.mkdir(exist_ok=True)
    with open(log_file, "wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "nightgate.stack.supervisor", str(port or 0)],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    deadline = time.monotonic() + _START_TIMEOUT
    while time.monotonic() < deadline:
        if process.poll() is not None:
            last_lines = log_file.read_text(errors="replace").strip().splitlines()[-1:] or ["nothing"]
            raise (InputError if process.returncode == InputError.exit_code else StackError)(last_lines[0])
        if (state := lock.holder()) and state.get("ready"):
            return state
        time.sleep(0.3)
    process.terminate()
    raise StackError(f"the stack was not ready within {_START_TIMEOUT:.0f} s", f"read {home / 'logs'}")


def check_suite(state: StackState) -> None:
    """Refuse to use a stack that is up with another suite than this process has.

    Raises:
        InputError: which suite it has.
    """
    ours = str(paths.suite_file())
    if (its := state.get("suite", ours)) != ours:
        raise InputError(
            f"the stack that is up has the suite {its}, not {ours}", "stop it with `nightgate down`, or use its suite"
        )


def down(home: Path) -> bool:
    """Stop the stack that `up` started; False when none runs."""
    state = StackLock(home).holder()
    if not state:
        return False
    if state.get("purpose") != "up":
        raise InputError(
            f"a `nightgate {state.get('purpose')}` (pid {state.get('pid')}) is at work here, not `nightgate up`",
            "stop it with Ctrl-C",
        )
    try:
        process = psutil.Process(state["pid"])
        process.terminate()
        process.wait(_STOP_TIMEOUT)
    except psutil.NoSuchProcess:
        pass
    except psutil.TimeoutExpired:
        raise StackError(f"the stack (pid {state['pid']}) did not stop within {_STOP_TIMEOUT:.0f} s") from None
    return True


def _serve(port: int) -> int:
    stopping = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal stopping
        stopping = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    try:
        with Stack(paths.home(), "up", port=port or None, say=lambda line: print(line, flush=True)) as stack:
            while not stopping:
                stack.check()
                time.sleep(1)
    except (InputError, StackError) as error:
        print(error, flush=True)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(_serve(int(sys.argv[1])))
