"""One dashboard against a Grafana: an upsert that changes nothing when nothing changed."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from contract.boards import board, panel
from contract.grafana_server import TOKEN, Board, Fault

from nightgate.errors import InputError
from nightgate.publish.grafana import Client, GrafanaError, content, upload_dashboard

APIS = pytest.mark.parametrize("legacy", [True, False], ids=["api", "apis"])


def upload(file, server, *, folder="Nightgate", **more):
    with Client(server.url, TOKEN, sleep=lambda _: None) as client:
        return upload_dashboard(client, file, folder=folder, **more)


def is_save(request):
    return request.writes and "dashboards" in request.path


def saves(server):
    return [request for request in server.requests if is_save(request)]


def test_an_upload_is_an_upsert_with_a_dated_version(board_file, server):
    answer = upload(board_file, server, message="run night-1")
    (save,) = saves(server)
    assert save.path == "/api/dashboards/db"
    assert save.body["overwrite"] is True
    assert save.body["dashboard"]["id"] is None
    assert save.body["dashboard"]["uid"] == "board"
    tags = save.body["dashboard"]["tags"]
    assert tags[0] == "slo"
    assert re.fullmatch(r"v\d{4}-\d\d-\d\dT\d\d:\d\dZ", tags[1])
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", save.body["message"])
    assert save.body["message"].endswith("run night-1")
    assert (answer.uid, answer.version, answer.changed) == ("board", 1, True)
    assert answer.url == f"{server.url}/d/board/a-slug"
    assert answer.tag == tags[1]


def test_the_message_names_the_revision_and_stays_short(board_file, server, monkeypatch):
    monkeypatch.setattr(content, "git_revision", lambda _: "abc1234")
    upload(board_file, server, message="ü" * 900)
    (message,) = server.boards["board"].versions
    assert "git abc1234" in message
    assert 498 <= len(message.encode()) <= 500


@APIS
def test_nothing_changed_means_no_new_version(board_file, server, legacy, monkeypatch):
    server.legacy = legacy
    first = upload(board_file, server)
    monkeypatch.setattr(content, "now", lambda: datetime(2040, 1, 1, tzinfo=UTC))  # another night, another tag
    second = upload(board_file, server)
    assert (first.changed, second.changed) == (True, False)
    assert (first.version, second.version, first.tag) == (1, 1, second.tag)
    assert server.boards["board"].version == 1


@APIS
def test_a_changed_file_makes_one_version_more(board_file, server, legacy):
    server.legacy = legacy
    upload(board_file, server)
    board_file.write_text(json.dumps(board(panels=[panel(1, title="Another")])))
    answer = upload(board_file, server)
    assert (answer.version, answer.changed) == (2, True)
    assert server.boards["board"].spec["panels"][0]["title"] == "Another"


@pytest.mark.parametrize("edit", [{"title": "Edited"}, {"panels": []}, {"tags": []}])
def test_what_somebody_edited_in_grafana_is_put_back(board_file, server, edit):
    upload(board_file, server)
    server.boards["board"].spec |= edit
    server.boards["board"].versions.append("by hand")
    assert upload(board_file, server).version == 3
    assert server.boards["board"].spec["title"] == "A board"
    assert len(server.boards["board"].spec["panels"]) == 1


def test_what_only_grafana_adds_is_no_change(board_file, server):
    upload(board_file, server)
    server.boards["board"].spec |= {"weekStart": "", "preload": False, "iteration": 7}
    server.boards["board"].spec["panels"][0] |= {"links": []}
    assert upload(board_file, server).changed is False


@APIS
def test_the_folder_is_made_once_and_kept(board_file, server, legacy):
    server.legacy = legacy
    upload(board_file, server, folder="Night & Day")
    upload(board_file, server, folder="Night & Day")
    assert server.folders == {"night-day": "Night & Day"}
    assert server.boards["board"].folder == "night-day"


@APIS
def test_a_folder_made_by_hand_is_used(board_file, server, legacy):
    server.legacy, server.folders = legacy, {"other": "Other", "by-hand": "Nightgate"}
    upload(board_file, server)
    assert server.folders == {"other": "Other", "by-hand": "Nightgate"}
    assert server.boards["board"].folder == "by-hand"


def test_a_board_that_was_moved_is_moved_back(board_file, server):
    upload(board_file, server)
    server.boards["board"].folder = ""
    assert upload(board_file, server).changed
    assert server.boards["board"].folder == "nightgate"


@APIS
def test_a_folder_that_another_upload_makes_at_the_same_moment_is_used(board_file, server, legacy):
    server.legacy = legacy
    path = "/api/folders" if legacy else "/apis/folder"
    taken = Fault(status=409, done=True, matches=lambda request: request.writes and request.path.startswith(path))
    server.faults.append(taken)
    upload(board_file, server)
    assert server.boards["board"].folder == "nightgate"


@pytest.mark.parametrize(
    ("title", "uid"),
    [("Nightgate", "nightgate"), ("A  b, c", "a-b-c"), ("夜", None), ("x" * 90, None), ("Größe", None)],
)
def test_the_uid_of_a_folder_follows_from_its_title(board_file, server, title, uid):
    upload(board_file, server, folder=title)
    (made,) = server.folders
    assert uid in (None, made)
    assert re.fullmatch(r"[a-z0-9-]{1,40}", made)


def test_below_a_path(board_file, server):
    server.prefix = "/grafana"
    answer = upload(board_file, server)
    assert answer.url == f"{server.url}/d/board/a-slug"
    assert answer.url.count("/grafana") == 1


@APIS
@pytest.mark.parametrize("fault", [Fault("drop"), Fault("half"), Fault(status=502)])
@pytest.mark.parametrize("done", [True, False])
def test_a_save_whose_answer_was_lost_happens_once(board_file, server, legacy, fault, done):
    server.legacy, server.folders = legacy, {"nightgate": "Nightgate"}
    server.faults.append(Fault(fault.how, fault.status, done=done, matches=is_save))
    assert upload(board_file, server).version == 1
    assert server.boards["board"].version == 1


@APIS
@pytest.mark.parametrize("status", [409, 412])
def test_a_conflict_is_read_again_and_written_over_once(board_file, server, legacy, status):
    server.legacy, server.folders = legacy, {"nightgate": "Nightgate"}
    server.faults += [Fault(status=status, body={"status": "version-mismatch"}, matches=is_save)] * 2
    with pytest.raises(GrafanaError) as caught:
        upload(board_file, server)
    assert caught.value.status == status
    assert len(saves(server)) == 2
    server.faults.append(Fault(status=status, matches=is_save))
    assert upload(board_file, server).changed


@APIS
def test_a_conflict_with_the_same_content_is_no_conflict(board_file, server, legacy):
    server.legacy, server.folders = legacy, {"nightgate": "Nightgate"}
    server.faults.append(Fault(status=409, done=True, matches=is_save))
    upload(board_file, server)
    assert server.boards["board"].version == 1
    assert len(saves(server)) == 1


@APIS
def test_uploads_at_the_same_moment_all_succeed(board_file, server, legacy):
    server.legacy = legacy
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: upload(board_file, server), range(4)))
    assert len({answer.url for answer in answers}) == 1
    assert server.folders == {"nightgate": "Nightgate"}
    assert server.boards["board"].folder == "nightgate"
    assert legacy or server.boards["board"].version == 1, "a resource is created by one of them only"


def test_a_server_that_does_not_heed_overwrite_is_served_by_the_version(board_file, server):
    server.folders["nightgate"] = "Nightgate"
    server.boards["board"] = Board(spec={"title": "Old"}, folder="", versions=["one", "two"])
    upload(board_file, server)
    assert saves(server)[0].body["dashboard"]["version"] == 2


@pytest.mark.parametrize("reason", ["name-exists", "plugin-dashboard"])
def test_a_name_or_a_plugin_in_the_way_is_not_written_over(board_file, server, reason):
    server.faults.append(Fault(status=412, body={"message": "no", "status": reason}, matches=is_save))
    with pytest.raises(GrafanaError, match="rename or remove theirs"):
        upload(board_file, server)
    assert len(saves(server)) == 1


def test_a_provisioned_dashboard_is_left_alone(board_file, server):
    server.boards["board"] = Board(spec={"title": "Old"}, folder="", versions=["one"], provisioned=True)
    with pytest.raises(GrafanaError, match="400: Cannot save provisioned.*provisioned from a file cannot be uploaded"):
        upload(board_file, server)


def test_what_was_kept_is_compared_with_what_was_sent(board_file, server):
    server.folders["nightgate"] = "Nightgate"
    server.faults.append(Fault(status=200, body={"uid": "board", "version": 1}, matches=is_save))
    server.boards["board"] = Board(spec=board(title="Old"), folder="nightgate", versions=["one"])
    with pytest.raises(GrafanaError, match="took board and keeps something else: title"):
        upload(board_file, server)


@pytest.mark.parametrize("page", [{"fine": True}, {"uid": 3, "dashboard": 4}, [], [{}], "null", '"text"'])
def test_a_page_that_is_not_grafana_is_no_success(board_file, server, page):
    server.faults += [Fault(status=200, body=page)] * 9
    with pytest.raises(GrafanaError, match="is not Grafana"):
        upload(board_file, server)


@APIS
@pytest.mark.parametrize(
    ("lacking", "step"),
    [
        ("dashboards:create", "dashboards:create; a token that only has dashboards:write cannot create"),
        ("dashboards:read", "dashboards:read"),
        ("folders:read", "folders:read"),
        ("folders:create", "folders:create"),
    ],
)
def test_a_missing_permission_is_named(board_file, server, legacy, lacking, step):
    server.legacy = legacy
    server.permissions.remove(lacking)
    with pytest.raises(GrafanaError, match=f"answered 403.*role Editor, or the permission {step}"):
        upload(board_file, server)


def test_a_token_that_may_only_write_updates_what_is_there(board_file, server):
    upload(board_file, server)
    server.permissions -= {"dashboards:create", "folders:create"}
    board_file.write_text(json.dumps(board(title="Another")))
    assert upload(board_file, server).version == 2
    server.permissions.remove("dashboards:write")
    board_file.write_text(json.dumps(board(title="A third")))
    with pytest.raises(GrafanaError, match="or the permission dashboards:write$"):
        upload(board_file, server)


def test_too_large_a_dashboard_is_refused_with_413(board_file, server):
    server.max_body = 100
    server.folders["nightgate"] = "Nightgate"
    with pytest.raises(GrafanaError, match="413.*remove panels"):
        upload(board_file, server)


@pytest.mark.parametrize("status", [404, 410])
def test_without_the_older_path_the_newer_api_is_used(board_file, server, status):
    server.faults.append(Fault(status=status, matches=lambda request: request.path == "/api/dashboards/db"))
    answer = upload(board_file, server)
    assert saves(server)[-1].path == "/apis/dashboard.grafana.app/v1beta1/namespaces/default/dashboards"
    assert (answer.version, answer.url) == (1, f"{server.url}/d/board")


def test_a_404_of_something_else_does_not_lead_to_the_newer_api(board_file, server):
    server.faults += [Fault(status=404)] * 9
    with pytest.raises(GrafanaError, match="404.*check GRAFANA_URL"):
        upload(board_file, server)
    assert not any("/apis" in request.path for request in server.requests)


def test_a_server_with_neither_api_is_named(board_file, server):
    server.legacy = server.apps = False
    with pytest.raises(GrafanaError, match="neither /api/dashboards/db nor"):
        upload(board_file, server)


def test_a_bad_dashboard_is_not_sent(board_file, server):
    board_file.write_text(json.dumps(board(title="")))
    with pytest.raises(InputError, match="no title"):
        upload(board_file, server)
    assert server.requests == []
