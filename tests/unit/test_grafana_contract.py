"""Each refusal of Grafana, as the contract server gives it and as the user reads it."""

import pytest
from contract.boards import board, panel
from contract.grafana_server import TOKEN, Board

from nightgate.publish.grafana import Client, GrafanaError
from nightgate.publish.grafana.errors import NEXT_STEP

DB = "/api/dashboards/db"


@pytest.fixture
def server(server):
    server.folders["f"] = "F"
    server.boards["board"] = Board(spec={"title": "A board"}, folder="f", versions=["one", "two"])
    server.boards["provisioned"] = Board(spec={"title": "P"}, folder="f", versions=["one"], provisioned=True)
    server.boards["plugin"] = Board(spec={"title": "Q"}, folder="f", versions=["one"], plugin=True)
    return server


def post(server, path, body, needs="", token=TOKEN):
    with Client(server.url, token, sleep=lambda _: None) as client:
        return client.write("POST", path, body, needs)


def save(**more):
    inner = {key: more.pop(key) for key in ("title", "uid", "id", "version", "panels") if key in more}
    return {"dashboard": board(**inner), "folderUid": "f", "message": "m", "overwrite": False, **more}


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (save(title=""), 400, "empty-name"),
        (save(title="x" * 5001), 400, ""),
        (save(uid="x" * 41), 400, ""),
        (save(uid="a/b"), 400, ""),
        (save(message="x" * 501), 400, ""),
        (save(folderUid="unknown"), 400, ""),
        (save(uid="provisioned", overwrite=True), 400, ""),
        (save(id=3), 404, "not-found"),
        (save(version=1), 412, "version-mismatch"),
        (save(uid="plugin", version=1), 412, "plugin-dashboard"),
        (save(panels=[panel(1, alert={})]), 422, ""),
        (save(message="x" * 1_000_000), 413, ""),
    ],
)
def test_a_save_that_grafana_refuses(server, body, status, reason):
    with pytest.raises(GrafanaError, match=f"answered {status}") as caught:
        post(server, DB, body)
    assert (caught.value.status, caught.value.reason) == (status, reason)
    assert caught.value.next_step == NEXT_STEP[status]
    assert [len(each.versions) for each in server.boards.values()] == [2, 1, 1]


def test_the_stored_version_or_overwrite_saves_and_counts_on(server):
    assert post(server, DB, save(version=2))["version"] == 3
    assert post(server, DB, save(version=1, overwrite=True))["version"] == 4


def test_without_a_folder_the_board_moves_to_the_root(server):
    post(server, DB, save(version=2, folderUid=None))
    assert server.boards["board"].folder == ""


@pytest.mark.parametrize(
    ("folder", "status"), [({"uid": "g", "title": "F"}, 409), ({"uid": "f", "title": "G"}, 412), ({"uid": "g"}, 400)]
)
def test_a_folder_that_grafana_refuses(server, folder, status):
    with pytest.raises(GrafanaError) as caught:
        post(server, "/api/folders", folder)
    assert caught.value.status == status


def test_another_token_is_refused_and_named_by_its_variable(server):
    with pytest.raises(GrafanaError, match="401.*GRAFANA_TOKEN is not accepted") as caught:
        post(server, DB, save(), token="glsa_other")
    assert "glsa_other" not in str(caught.value)


def test_saving_over_is_allowed_where_creating_is_not(server):
    server.permissions.remove("dashboards:create")
    assert post(server, DB, save(version=2))["status"] == "success"
    with pytest.raises(GrafanaError, match="403.*Permissions needed: dashboards:create.*cannot create a dashboard"):
        post(server, DB, save(uid="new"), "dashboards:create")


def test_the_newer_api_refuses_an_old_revision(server):
    path = "/apis/dashboard.grafana.app/v1beta1/namespaces/default/dashboards"
    with pytest.raises(GrafanaError) as caught:
        post(server, path, {"metadata": {"name": "board"}, "spec": {"title": "A board"}})
    assert caught.value.status == 409
    body = {"metadata": {"name": "board", "resourceVersion": "1"}, "spec": {"title": "A board"}}
    with Client(server.url, TOKEN) as client, pytest.raises(GrafanaError) as caught:
        client.write("PUT", f"{path}/board", body)
    assert caught.value.conflict
