"""Start `nightgate run` and wait for a point at which it can be interrupted."""

from __future__ import annotations

import signal
import subprocess
import time

import pytest


def start(home, *words, benchmark="hybrid_ann"):
    return subprocess.Popen(
        home.command("run", "--benchmarks", benchmark, *words), env=home.environment(),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        # a shell's background jobs start with SIGINT ignored, and Python then leaves it so
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip


def wait_for(process, text, seconds=180):
    """Read the run's output until ``text`` shows."""
    seen, deadline = [], time.monotonic() + seconds
    for line in process.stdout:
        seen.append(line)
        if text in line:
            return
        if time.monotonic() > deadline:
            break
    process.kill()
    pytest.fail(f"no {text!r} in: {''.join(seen)}")
