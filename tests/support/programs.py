"""Programs that `make setup-servers` installs, and ports to run them on."""

from __future__ import annotations

import os
import shutil
import socket

import pytest


def program(name: str) -> str:
    """Where ``name`` is. Without it the test is skipped, but in CI it fails: nothing may go missing quietly there."""
    if found := shutil.which(name):
        return found
    (pytest.fail if os.environ.get("CI") else pytest.skip)(f"{name} is missing: `make setup-servers` installs it")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
