"""What the command says of errors that nobody foresaw."""

from __future__ import annotations

import pytest

from nightgate import cli


def test_an_unforeseen_error_is_not_taken_for_a_breach(monkeypatch, capsys):
    def app(**_):
        raise RuntimeError("a bug")

    monkeypatch.setattr(cli, "app", app)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 3, "1 would say that an objective is breached"
    assert "RuntimeError: a bug" in capsys.readouterr().err
