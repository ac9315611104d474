"""One owner per home: the kernel's lock decides, whatever files lie around."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from nightgate.errors import BusyError
from nightgate.stack.lock import StackLock

HOLD = """
import sys; from pathlib import Path; from nightgate.stack.lock import StackLock
lock = StackLock(Path(sys.argv[1])); lock.acquire("run"); lock.publish(url="http://x"); print("held", flush=True); sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    with process:
        yield process
        process.kill()


def test_a_second_owner_learns_who_the_first_is(tmp_path, holder):
    with pytest.raises(
        BusyError, match=rf"another `nightgate run` \(pid {holder.pid}, since 2.*Next step: wait for it"
    ):
        StackLock(tmp_path).acquire("run")
    state = StackLock(tmp_path).holder()
    assert (state["pid"], state["purpose"], state["url"]) == (holder.pid, "run", "http://x")


def test_what_a_killed_owner_leaves_blocks_nobody(tmp_path, holder):
    holder.kill()
    holder.wait()
    assert (tmp_path / "stack.json").exists()
    lock = StackLock(tmp_path)
    assert lock.holder() is None
    lock.acquire("up")
    assert json.loads((tmp_path / "stack.json").read_text())["purpose"] == "up"
    assert "url" not in json.loads((tmp_path / "stack.json").read_text()), "the old state is gone"
    lock.release()
    assert not (tmp_path / "stack.json").exists()


def test_the_state_is_for_the_owner_only(tmp_path):
    lock = StackLock(tmp_path)
    lock.acquire("run")
    assert (tmp_path / "stack.json").stat().st_mode & 0o077 == 0
    lock.release()
