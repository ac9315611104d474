import json

import pytest
from contract.boards import board, panel

from nightgate.publish.lint import check


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "board.json"
    path.write_text(json.dumps(board()))
    return path


def test_a_good_dashboard_has_no_problems(file):
    assert check(file) == []


@pytest.mark.parametrize(
    ("broken", "problem"),
    [
        (board(title=""), "no title"),
        (board(uid="x" * 41), "uid"),
        (board(uid="a/b"), "uid"),
        (board(uid=None), "uid"),
        (board(id=3), "id must be null"),
        (board(panels=[]), "no panels"),
        (board(templating={"list": []}), "datasource variable"),
        (board(panels=[panel(1), panel(1)]), "not unique"),
        (board(panels=[panel(1, title="")]), "no title"),
        (board(panels=[panel(1, description="")]), "no description"),
        (board(panels=[panel(1, fieldConfig={"defaults": {}})]), "no unit"),
        (board(panels=[panel(1, datasource={"uid": "abc"})]), "datasource variable"),
        (board(panels=[panel(1, targets=[])]), "no target"),
        (board(panels=[panel(1), panel(2, gridPos={"h": 4, "w": 4, "x": 3, "y": 3})]), "overlap"),
        (board(panels=[panel(1, gridPos={"h": 4, "w": 8, "x": 20, "y": 0})]), "24 columns"),
        (board(panels=[{"id": 9, "type": "row", "title": "R", "gridPos": {"h": 1, "w": 24, "x": 0, "y": 0},
                        "panels": [panel(1, description="")]}]), "no description"),
        ([], "not a JSON object"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(file, broken, problem):
    file.write_text(json.dumps(broken))
    assert any(problem in found for found in check(file)), check(file)


def test_a_file_that_is_no_json_is_a_problem(file):
    file.write_text("{")
    assert "cannot be read" in check(file)[0]
