"""The forms in which Grafana writes a dashboard, and what else may lie in a file."""

import json
import os

import pytest
from contract.boards import board

from nightgate.errors import InputError
from nightgate.publish import boardfile
from nightgate.publish.lint import check

GROUP = "dashboard.grafana.app"


def resource(version, spec=None, **more):
    return {
        "apiVersion": f"{GROUP}/{version}",
        "kind": "Dashboard",
        "metadata": {"name": "board"},
        "spec": {key: value for key, value in board().items() if key not in ("id", "uid")} if spec is None else spec,
        **more,
    }


@pytest.mark.parametrize(
    "document",
    [
        board(),
        board(__inputs=[], __elements={}, __requires=[{"type": "grafana"}]),
        {"dashboard": board(id=7), "meta": {"folderUid": "elsewhere", "canSave": True}},
        {"dashboard": board(), "overwrite": True, "message": "m", "folderUid": "", "folderId": 0},
        resource("v0alpha1"),
        resource("v1"),
        resource("v1beta1", {**board(id=7)}),
        resource("v1beta1", {**board(uid="")}),
        resource("v1", board(), metadata={}),
    ],
)
def test_a_classic_dashboard_is_taken_out_of_its_wrapping(tmp_path, document):
    file = tmp_path / "board.json"
    file.write_text(json.dumps(document))
    found = boardfile.read(file)
    assert {key: value for key, value in found.items() if not key.startswith("__")} == board()
    assert check(file) == []


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        ([board()], "it is not a JSON object"),
        ("text", "it is not a JSON object"),
        (
            resource("v2beta1", {"title": "B", "elements": {}, "layout": {}}),
            "it is a dashboard of schema v2 (dashboard.grafana.app/v2beta1), which the upload does not know: "
            "export it again with the model Classic",
        ),
        (
            {"title": "B", "elements": {}, "layout": {}},
            "it is a dashboard of schema v2, which the upload does not know: export it again with the model Classic",
        ),
        (
            {"dashboard": {"title": "B", "elements": {}, "layout": {}}, "meta": {}},
            "it is a dashboard of schema v2, which the upload does not know: export it again with the model Classic",
        ),
        (
            resource("v3"),
            "it is a dashboard of dashboard.grafana.app/v3, which the upload does not know: "
            "export it again with the model Classic",
        ),
        (resource("v1", kind="DashboardList"), "it is a DashboardList of dashboard.grafana.app/v1 and not a dashboard"),
        (
            resource("v1", apiVersion="folder.grafana.app/v1", kind="Folder"),
            "it is a Folder of folder.grafana.app/v1 and not a dashboard",
        ),
        ({"apiVersion": 1, "groups": []}, "it is a None of 1 and not a dashboard"),
        (resource("v1", []), "it is a resource without spec or metadata"),
        (resource("v1", metadata=None), "it is a resource without spec or metadata"),
        (resource("v1", board(uid="other")), "it has two uids, 'other' in its spec and 'board' in its metadata"),
        (
            {"dashboard": board(), "folderUid": "f"},
            "it names a folder of its own (folderUid), and all dashboards go into GRAFANA_FOLDER: leave folderUid out",
        ),
        (
            {"dashboard": board(), "folderId": 3},
            "it names a folder of its own (folderId), and all dashboards go into GRAFANA_FOLDER: leave folderId out",
        ),
        (
            {"dashboard": board(), "folderTitle": "T"},
            "it names a folder of its own (folderTitle), and all dashboards go into GRAFANA_FOLDER: leave folderTitle out",
        ),
        (
            {"dashboard": board(), "inputs": []},
            "it wraps a dashboard and holds 'inputs' beside it, which is not understood",
        ),
        ({"dashboard": "text", "meta": {}}, "it wraps a dashboard that is not a JSON object"),
        (
            board(__inputs=[{"name": "DS_PROMETHEUS", "type": "datasource"}, {"name": "VAR_X"}]),
            "it is an export for sharing, and only an import by hand fills in its inputs (DS_PROMETHEUS, VAR_X): "
            "export it again without sharing it externally",
        ),
        (
            board(__elements={"abc": {"name": "L"}}),
            "it is an export for sharing, and only an import by hand fills in its library panels (abc): "
            "export it again without sharing it externally",
        ),
        (
            board(__inputs=["x"]),
            "it is an export for sharing, and only an import by hand fills in its inputs (x): "
            "export it again without sharing it externally",
        ),
        (
            board(__inputs=3),
            "it is an export for sharing, and only an import by hand fills in its inputs (3): "
            "export it again without sharing it externally",
        ),
        (
            {"title": "B", "uid": "b", "rows": [{"panels": []}]},
            "its panels lie in rows, as before Grafana 5: open it in Grafana and export it again with the model Classic",
        ),
    ],
)
def test_what_cannot_be_uploaded_is_called_by_its_name(tmp_path, document, problem):
    file = tmp_path / "board.json"
    file.write_text(json.dumps(document))
    assert check(file) == [problem]
    with pytest.raises(InputError):
        boardfile.read(file)


def test_keys_of_a_classic_dashboard_do_not_make_it_another_form():
    odd = board(elements=[], rows=[], dashboard="x")
    assert boardfile.unwrapped(odd) == odd


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"{", "it cannot be read as JSON (Expecting property name"),
        (b"", "it cannot be read as JSON (Expecting value"),
        (b"\xff\xfe{\x00}\x00", "it cannot be read as JSON (it is not UTF-8 text)"),
        (b'{"title": "a", "title": "b"}', "it has the key 'title' twice in one object"),
        (b'{"panels": [{"id": 1, "id": 1}]}', "it has the key 'id' twice in one object"),
        (b'{"x": NaN}', "it holds the number NaN, which JSON does not have"),
        (b'{"x": -Infinity}', "it holds the number -Infinity, which JSON does not have"),
        (b'{"x": 1e999}', "it holds the number 1e999, which JSON does not have"),
        (b'{"x": ' + b"9" * 5000 + b"}", "it cannot be read as JSON (Exceeds the limit"),
        (b"[" * 100_000 + b"]" * 100_000, "it cannot be read as JSON (it is nested too deeply)"),
        (b'"' + b"x" * 10_000_000 + b'"', "it is larger than 10 MB, which no Grafana accepts"),
    ],
)
def test_what_is_no_json_is_said(tmp_path, content, problem):
    file = tmp_path / "board.json"
    file.write_bytes(content)
    (found,) = check(file)
    assert found.startswith(problem)


def test_a_file_of_ten_megabytes_is_still_read(tmp_path):
    file = tmp_path / "board.json"
    file.write_text(json.dumps(board()).ljust(10_000_000))
    assert check(file) == []


def test_a_byte_order_mark_is_no_part_of_the_dashboard(tmp_path):
    file = tmp_path / "board.json"
    file.write_text(json.dumps(board(title="Größe"), ensure_ascii=False), encoding="utf-8-sig")
    assert boardfile.read(file)["title"] == "Größe"


def test_numbers_are_read_as_they_are(tmp_path):
    file = tmp_path / "board.json"
    file.write_text('{"a": 1.5, "b": 2, "c": -3e2}')
    assert boardfile.read(file) == {"a": 1.5, "b": 2, "c": -300.0}


def test_what_is_no_file_is_not_waited_for(tmp_path):
    (tmp_path / "folder.json").mkdir()
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "link.json").symlink_to(tmp_path / "nowhere")
    for name in ("folder.json", "pipe.json", "link.json", "missing.json"):
        assert check(tmp_path / name) == ["it cannot be read as JSON (it is not a file)"]
