"""Whether torch and OpenAI's Whisper are there, which `make setup-torch` installs."""

from __future__ import annotations

import os

import pytest

from nightgate.transcription.engines import OpenAIWhisper
from nightgate.transcription.engines.interface import not_installed


def need_torch() -> None:
    """Without them a test is skipped; where REQUIRE_TORCH is set it fails: nothing may go missing quietly there."""
    if missing := not_installed(OpenAIWhisper, "cpu"):
        (pytest.fail if os.environ.get("REQUIRE_TORCH") else pytest.skip)(str(missing))
