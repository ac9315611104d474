"""Five clips that are prepared, and engines whose processes are replaced."""

from __future__ import annotations

import pytest
from support.scripted_engines import child_replaced, prepared_of


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """The pace of the host is remembered there."""
    monkeypatch.setenv("NIGHTGATE_HOME", str(tmp_path / "home"))


@pytest.fixture
def prepared(tmp_path):
    return prepared_of(tmp_path / "clips", 5)


@pytest.fixture
def child(monkeypatch):
    return child_replaced(monkeypatch)
