from __future__ import annotations

import json

import pytest
from contract import grafana_server
from contract.boards import board


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
