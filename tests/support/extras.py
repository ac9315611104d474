"""What is not part of the pinned packages."""

from __future__ import annotations

import os

import pytest


def needs_torch() -> None:
    """Skip the test where torch is not installed, and fail it there when REQUIRE_TORCH is set."""
    if os.environ.get("REQUIRE_TORCH"):
        import torch  # noqa: F401
    else:
        pytest.importorskip("torch", reason="torch is an extra")
