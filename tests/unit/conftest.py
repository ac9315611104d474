from __future__ import annotations

import json
import time

import pytest
from contract import grafana_server
from contract.boards import board

from nightgate.measure import watch
from nightgate.measure.canary import Readings
from nightgate.measure.counters import Counters


@pytest.fixture
def server():
    """A Grafana that is empty, with a token of the role Editor."""
    with grafana_server.running() as made:
        yield made


@pytest.fixture
def board_file(tmp_path):
    path = tmp_path / "board.json"
    path.write_text(json.dumps(board()))
    return path


class StillCanary:
    """Sees the same in no time, whatever else this machine does."""

    def sample(self, seconds):
        return Readings((0.0099, 0.01, 0.0101), (6e9,), (2e-9,), 6e-5, 0.0001, 0.0)


@pytest.fixture(autouse=True)
def still_host(monkeypatch):
    """A verdict must not depend on what else runs beside the tests."""
    monkeypatch.setattr(watch, "Canary", StillCanary)
    monkeypatch.setattr(watch, "read", lambda root: Counters(time.monotonic(), 2))
