"""What is not part of the pinned packages."""

from __future__ import annotations

import os

import pytest

from nightgate.transcription.engines.interface import not_installed
from nightgate.transcription.engines.openai_whisper import OpenAIWhisper


def needs_torch() -> None:
    """Skip the test where torch is not installed, and fail it there when REQUIRE_TORCH is set."""
    if os.environ.get("REQUIRE_TORCH"):
        import torch  # noqa: F401
    else:
        pytest.importorskip("torch", reason="torch is an extra")


def needs_openai_whisper() -> None:
    """The same of OpenAI's Whisper and what it needs, torch among it: `make setup-torch` installs them."""
    if missing := not_installed(OpenAIWhisper, "cpu"):
        (pytest.fail if os.environ.get("REQUIRE_TORCH") else pytest.skip)(str(missing))
