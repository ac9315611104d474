import json

import pytest
from contract.boards import board, panel
from typer.testing import CliRunner

from nightgate import cli, paths
from nightgate.publish.lint import check, check_all, problems_of


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
        (
            board(
                panels=[
                    {
                        "id": 9,
                        "type": "row",
                        "title": "R",
                        "gridPos": {"h": 1, "w": 24, "x": 0, "y": 0},
                        "panels": [panel(1, description="")],
                    }
                ]
            ),
            "no description",
        ),
        ([], "not a JSON object"),
    ],
)
def test_what_is_wrong_is_said(file, broken, problem):
    file.write_text(json.dumps(broken))
    assert any(problem in found for found in check(file)), check(file)


def test_a_file_that_is_no_json_is_a_problem(file):
    file.write_text("{")
    assert "cannot be read" in check(file)[0]


def text_panel(number, **more):
    return {"id": number, "type": "text", "gridPos": {"h": 2, "w": 4, "x": 0, "y": 10 * number}, **more}


def row(number, y, panels=(), **more):
    return {"id": number, "type": "row", "gridPos": {"h": 1, "w": 24, "x": 0, "y": y}, "panels": list(panels), **more}


def asking(datasource, /, **target):
    return board(panels=[panel(1, datasource=datasource, targets=[{"refId": "A", "expr": "up"} | target])])


def without_source(**more):
    return board(**{"templating": {"list": []}, **more})


PROMETHEUS = {"type": "prometheus", "uid": "${datasource}"}
SQL = {"type": "grafana-postgresql-datasource", "uid": "$datasource"}


@pytest.mark.parametrize(
    "good",
    [
        without_source(panels=[text_panel(1)]),
        without_source(panels=[row(1, 0), text_panel(2), text_panel(3)], templating=None, tags=None, annotations=None),
        board(panels=[row(7, 0, [panel(1), row(8, 20, [panel(2)])], collapsed=True, title="R")]),
        without_source(panels=[{**text_panel(1), "type": kind} for kind in ["dashlist"]]),
        *(
            without_source(panels=[{**text_panel(1), "type": kind}])
            for kind in ("news", "alertlist", "annolist", "pluginlist", "welcome", "gettingstarted")
        ),
        asking("${datasource}"),
        asking("$datasource"),
        asking("[[datasource]]"),
        asking("${datasource:raw}"),
        asking({"type": "prometheus", "uid": "$datasource"}),
        asking({"uid": "${datasource}"}),
        asking(None, datasource=PROMETHEUS),
        asking({"uid": "-- Mixed --"}, datasource=PROMETHEUS),
        asking("-- Mixed --", datasource="$datasource"),
        asking(PROMETHEUS, datasource=PROMETHEUS),
        asking({"type": "mixed", "uid": "-- Mixed --"}, datasource={"uid": "__expr__"}, expr="", expression="$A * 2"),
        asking(None, datasource=SQL, expr="", rawSql="select 1"),
        asking(SQL, expr="", rawSql="select 1"),
        asking(SQL, datasource=SQL, expr="", rawSql="select 1"),
        board(panels=[panel(1, datasource={"type": "datasource", "uid": "grafana"}, targets=[])]),
        board(panels=[panel(1, datasource="-- Grafana --", targets=[{"refId": "A", "queryType": "list"}])]),
        board(panels=[panel(1, datasource={"type": "grafana", "uid": "grafana"}, targets=[])]),
        board(panels=[panel(1), panel(2, datasource={"uid": "-- Dashboard --"}, targets=[{"panelId": 1}])]),
        board(panels=[panel(1, gridPos={"h": 0.5, "w": 24, "x": 0, "y": 0, "static": True})]),
        board(
            panels=[
                panel(2, gridPos={"h": 4, "w": 4, "x": 20, "y": 4}),
                panel(1, gridPos={"h": 4, "w": 20, "x": 0, "y": 4}),
                panel(3, gridPos={"h": 4, "w": 24, "x": 0, "y": 0}),
                panel(4, gridPos={"h": 4, "w": 24, "x": 0, "y": 8}),
            ]
        ),
        board(
            annotations={
                "list": [{"name": "N", "builtIn": 1, "datasource": {"type": "grafana", "uid": "-- Grafana --"}}]
            }
        ),
        board(
            templating={
                "list": [
                    {"name": "datasource", "type": "datasource"},
                    {"name": "v", "type": "query", "datasource": PROMETHEUS},
                    {"name": "c", "type": "custom", "datasource": None},
                ]
            }
        ),
        board(uid="x" * 40, title="x" * 5000),
    ],
)
def test_what_is_right_is_recognised(good):
    assert problems_of(good) == []


NO_SOURCE = "panel 'Panel 1' names no datasource, so it does not use the datasource variable but Grafana's default one"
NO_NAME = "panel 'Panel 1' has a datasource without a name or uid, so it does not use the datasource variable"
NO_TARGET = "panel 'Panel 1' has no target, or one without an expression"
NO_PANEL = "panel 'Panel 1' shows the answers of a panel that the dashboard does not have"


def fixed(name, who="panel 'Panel 1'"):
    return f"{who} does not use the datasource variable: it names {name!r}, which another Grafana does not have"


def unknown(name):
    return f"panel 'Panel 1' does not use the datasource variable: there is none called {name!r}"


@pytest.mark.parametrize(
    ("bad", "problems"),
    [
        (asking("Prometheus"), [fixed("Prometheus")]),
        (asking("grafana"), [fixed("grafana")]),
        (asking({"type": "prometheus", "uid": "grafana"}), [fixed("grafana")]),
        (asking("${DS_PROMETHEUS}"), [unknown("DS_PROMETHEUS")]),
        (asking("$other"), [unknown("other")]),
        (asking("[[other]]"), [unknown("other")]),
        (asking("x$datasource"), [fixed("x$datasource")]),
        (asking(None), [NO_SOURCE]),
        (asking({"uid": None}), [NO_NAME]),
        (asking({"uid": ["x"]}), [NO_NAME]),
        (asking(["x"]), [NO_NAME]),
        (asking(""), [NO_NAME]),
        (asking({}), [NO_NAME]),
        (asking(7), [NO_NAME]),
        (asking("-- Mixed --"), [NO_SOURCE]),
        (asking({"uid": "-- Mixed --"}, datasource="abc"), [fixed("abc")]),
        (asking(PROMETHEUS, datasource="abc"), [fixed("abc")]),
        (asking(PROMETHEUS, expr=""), [NO_TARGET]),
        (asking("$datasource", expr="", rawSql="select 1"), [NO_TARGET]),
        (asking({"type": "loki", "uid": "$datasource"}, expr="", query="x"), [NO_TARGET]),
        (
            board(panels=[panel(1, datasource=SQL, targets=[{"refId": "A", "datasource": SQL, "hide": False}])]),
            [NO_TARGET],
        ),
        (board(panels=[panel(1, datasource=SQL, targets=[{"rawSql": "x"}, {"refId": "B"}])]), [NO_TARGET]),
        (asking(SQL, expr="", rawSql=""), [NO_TARGET]),
        (
            board(
                panels=[
                    panel(
                        1,
                        datasource=SQL,
                        targets=[{"refId": "B", "datasource": SQL, "datasourceUid": "x", "hide": True, "key": "k"}],
                    )
                ]
            ),
            [NO_TARGET],
        ),
        (board(panels=[panel(1, datasource=None, targets=[])]), [NO_SOURCE, NO_TARGET]),
        (board(panels=[panel(1, targets=None)]), [NO_TARGET]),
        (board(panels=[panel(1, datasource="-- Dashboard --", targets=[{"panelId": 1}])]), [NO_PANEL]),
        (board(panels=[panel(1, datasource="-- Dashboard --", targets=[{"panelId": [2]}]), panel(2)]), [NO_PANEL]),
        (board(panels=[panel(1, datasource="-- Dashboard --", targets=[])]), [NO_PANEL]),
        (
            board(panels=[panel(1, datasource="-- Dashboard --", targets=[{"panelId": 9}, {"panelId": 2}]), panel(2)]),
            [NO_PANEL],
        ),
        (without_source(), ["it has no datasource variable", unknown("datasource")]),
        (without_source(panels=[]), ["it has no panels"]),
        (board(panels=[panel(1, type=None)]), ["panel 'Panel 1' has no type"]),
        (
            board(panels=[{"id": 1, "libraryPanel": {"uid": "u"}, "gridPos": {"h": 1, "w": 1, "x": 0, "y": 0}}]),
            ["panel 1 is a library panel, whose content is in one Grafana only: unlink it there and export again"],
        ),
        (
            without_source(
                panels=[
                    {"id": 1, "type": "stat", "libraryPanel": {"uid": "u"}, "gridPos": {"h": 1, "w": 1, "x": 0, "y": 0}}
                ]
            ),
            ["panel 1 is a library panel, whose content is in one Grafana only: unlink it there and export again"],
        ),
        (board(panels=[row(7, 0, [panel(1, description="")])]), ["panel 'Panel 1' has no description"]),
        (
            board(panels=[row(7, 0, [panel(1), panel(2, gridPos={"h": 4, "w": 4, "x": 3, "y": 3})])]),
            ["panels 'Panel 1' and 'Panel 2' overlap"],
        ),
        (
            board(panels=[row(1, 0), panel(1, gridPos={"h": 4, "w": 4, "x": 0, "y": 1})]),
            ["the ids of its panels are not unique"],
        ),
        (board(panels=[panel(1, id=None)]), ["the ids of its panels are not unique"]),
        (
            board(panels=[panel(1, title="", description="", fieldConfig=None)]),
            ["panel 1 has no title", "panel 1 has no description", "panel 1 has no unit"],
        ),
        (board(panels=[panel(1, fieldConfig={"defaults": None})]), ["panel 'Panel 1' has no unit"]),
        (board(title=" A"), ["its title must be at most 5000 characters, without spaces around it"]),
        (board(title="x" * 5001), ["its title must be at most 5000 characters, without spaces around it"]),
        (board(title="  "), ["it has no title"]),
        (board(uid="ü"), ["its uid must be 1 to 40 letters, digits, - or _"]),
        (board(uid="a\n"), ["its uid must be 1 to 40 letters, digits, - or _"]),
        ({k: v for k, v in board().items() if k != "id"}, ["its id must be null"]),
        (board(annotations={"list": [{"name": "N", "datasource": "Prom"}]}), [fixed("Prom", "annotation 'N'")]),
        (
            board(
                templating={
                    "list": [
                        {"name": "datasource", "type": "datasource"},
                        {"name": "q", "type": "query", "datasource": "P"},
                    ]
                }
            ),
            [fixed("P", "variable 'q'")],
        ),
        (
            board(
                templating={
                    "list": [
                        {"name": "datasource", "type": "datasource"},
                        {"name": "q", "type": "adhoc", "datasource": "P"},
                    ]
                }
            ),
            [fixed("P", "variable 'q'")],
        ),
        # what has another type than Grafana's
        (board(panels=["text"]), ["its panels[0] must be an object"]),
        (board(panels={}), ["its panels must be a list"]),
        (
            board(panels=[panel(1, gridPos={"h": "4", "w": 1, "x": 0, "y": 0})]),
            ["its panels[0].gridPos.h must be a number"],
        ),
        (board(panels=[panel(1, id="1")]), ["its panels[0].id must be a whole number"]),
        (board(tags=["a", 3]), ["its tags[1] must be a text"]),
        (board(title=3, uid=4), ["its title must be a text", "its uid must be a text"]),
        (board(templating=[]), ["its templating must be an object"]),
        (board(templating={"list": ["x"]}), ["its templating.list[0] must be an object"]),
        (board(panels=[row(7, 0, [panel(1, targets={})])]), ["its panels[0].panels[0].targets must be a list"]),
        (board(annotations={"list": [3]}), ["its annotations.list[0] must be an object"]),
    ],
)
def test_what_is_wrong_is_said_once_and_nothing_else(bad, problems):
    assert problems_of(bad) == problems


@pytest.mark.parametrize(
    "place",
    [
        None,
        {},
        {"h": 1, "w": 1, "x": 0},
        {"h": 0, "w": 1, "x": 0, "y": 0},
        {"h": 1, "w": 0, "x": 0, "y": 0},
        {"h": 1, "w": 1, "x": -1, "y": 0},
        {"h": 1, "w": 1, "x": 0, "y": -1},
        {"h": 1, "w": 1, "x": 24, "y": 0},
        {"h": 1, "w": 25, "x": 0, "y": 0},
        {"h": 1, "w": 1, "x": None, "y": 0},
    ],
)
def test_a_panel_needs_a_place(place):
    assert problems_of(board(panels=[panel(1, gridPos=place)])) == ["panel 'Panel 1' has no place on the 24 columns"]


def test_three_files_with_one_uid_are_all_named(tmp_path):
    files = []
    for name, uid, title in [
        ("a", "u", "A"),
        ("b", "u", "B"),
        ("c", "u", "C"),
        ("d", "d", "C"),
        ("e", "", "E"),
        ("f", "", "F"),
    ]:
        files.append(tmp_path / f"{name}.json")
        files[-1].write_text(json.dumps(board(uid=uid, title=title)))
    files.append(tmp_path / "g.json")
    files[-1].write_text("{")
    found = {file.name: lines for file, lines in check_all(files).items()}
    assert found["a.json"] == ["b.json and c.json have the same uid 'u'"]
    assert found["c.json"] == ["a.json and b.json have the same uid 'u'", "d.json has the same title 'C'"]
    assert found["d.json"] == ["c.json has the same title 'C'"]
    assert found["e.json"] == found["f.json"] == ["its uid must be 1 to 40 letters, digits, - or _"]
    assert list(found) == [f"{name}.json" for name in "abcdefg"]


def test_the_command_names_every_bad_file(tmp_path, monkeypatch):
    for name in ("a", "b"):
        (tmp_path / f"{name}.json").write_text(json.dumps(board(title=name)))
    monkeypatch.setattr(paths, "dashboards_dir", lambda: tmp_path)
    error = CliRunner().invoke(cli.app, ["dashboards", "check"]).exception
    assert error.exit_code == 2
    assert error.what == "a.json: b.json has the same uid 'board'; b.json: a.json has the same uid 'board'"
