import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from nightgate.errors import InputError
from nightgate.publish import grafana
from nightgate.publish.grafana import GrafanaError, check, upload_dashboard

TOKEN = "glsa_secret0123456789"
SAVED = (200, {}, {"id": 7, "uid": "board", "url": "/d/board/a-board", "status": "success", "version": 3})


class Grafana(ThreadingHTTPServer):
    """Answers each POST with the next of ``answers`` (the last one again and again) and keeps what it was sent."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers, self.requests = [SAVED], []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.append((self.path, dict(self.headers), json.loads(body)))
        answers = self.server.answers
        status, headers, answer = answers.pop(0) if len(answers) > 1 else answers[0]
        payload = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(payload))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    made = Grafana()
    thread = threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


def board(**more):
    return {
        "id": None, "uid": "board", "title": "A board", "tags": ["slo"], "schemaVersion": 41,
        "templating": {"list": [{"name": "datasource", "type": "datasource", "query": "prometheus"}]},
        "panels": [panel(1)], **more,
    }  # fmt: skip


def panel(number, **more):
    return {
        "id": number, "type": "stat", "title": f"Panel {number}", "description": "What it shows.",
        "datasource": {"type": "prometheus", "uid": "${datasource}"}, "targets": [{"refId": "A", "expr": "up"}],
        "fieldConfig": {"defaults": {"unit": "s"}}, "gridPos": {"h": 4, "w": 4, "x": 4 * (number - 1), "y": 0}, **more,
    }  # fmt: skip


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "board.json"
    path.write_text(json.dumps(board()))
    return path


def upload(file, server, **more):
    waits = []
    answer = upload_dashboard(file, more.pop("url", server.url), more.pop("token", TOKEN), sleep=waits.append, **more)
    return answer, waits


def test_an_upload_is_an_upsert_with_a_dated_version(file, server):
    answer, _ = upload(file, server, message="run night-1", folder_uid="folder")
    path, headers, body = server.requests[0]
    assert path == "/api/dashboards/db"
    assert headers["Authorization"] == f"Bearer {TOKEN}"
    assert body["overwrite"] is True
    assert body["folderUid"] == "folder"
    assert body["dashboard"]["id"] is None
    assert body["dashboard"]["uid"] == "board"
    assert body["dashboard"]["tags"][0] == "slo"
    assert re.fullmatch(r"v\d{4}-\d\d-\d\dT\d\d:\d\dZ", body["dashboard"]["tags"][1])
    assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", body["message"])
    assert body["message"].endswith("run night-1")
    assert answer["version"] == 3
    assert answer["url"] == f"{server.url}/d/board/a-board"
    assert answer["tag"] == body["dashboard"]["tags"][1]


def test_the_message_names_the_revision_and_stays_short(file, server, monkeypatch):
    monkeypatch.setattr(grafana, "git_revision", lambda _: "abc1234")
    upload(file, server, message="x" * 900)
    message = server.requests[0][2]["message"]
    assert "git abc1234" in message
    assert len(message) == 500


def test_grafana_below_a_path(file, server):
    upload(file, server, url=f"{server.url}/grafana/")
    assert server.requests[0][0] == "/grafana/api/dashboards/db"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 412, 413, 422])
def test_a_refusal_says_what_to_do_and_is_not_repeated(file, server, status):
    server.answers = [(status, {}, {"message": f"the reason, and {TOKEN}"})]
    with pytest.raises(GrafanaError, match=f"answered {status}: the reason.*Next step: ") as caught:
        upload(file, server)
    assert caught.value.status == status
    assert caught.value.next_step == grafana._NEXT_STEP[status]
    assert len(server.requests) == 1
    assert TOKEN not in f"{caught.value} {caught.value!r}"


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_what_passes_is_tried_again(file, server, status):
    server.answers = [(status, {}, "busy"), (status, {}, "busy"), SAVED]
    answer, waits = upload(file, server)
    assert answer["uid"] == "board"
    assert len(waits) == 2
    assert all(0 <= wait <= 8 for wait in waits)


def test_retry_after_is_honoured(file, server):
    server.answers = [(429, {"Retry-After": "7"}, {}), SAVED]
    assert upload(file, server)[1] == [7.0]


def test_a_wait_past_the_deadline_is_not_begun(file, server):
    server.answers = [(429, {"Retry-After": "3600"}, {}), SAVED]
    with pytest.raises(GrafanaError) as caught:
        upload(file, server)
    assert caught.value.status == 429
    assert len(server.requests) == 1


def test_tries_end(file, server):
    server.answers = [(503, {}, {})]
    with pytest.raises(GrafanaError, match="503"):
        upload(file, server)
    assert len(server.requests) == 5


def test_a_500_is_not_repeated(file, server):
    server.answers = [(500, {}, {"message": "oops"})]
    with pytest.raises(GrafanaError, match="500: oops"):
        upload(file, server)
    assert len(server.requests) == 1


def test_nobody_there_is_tried_again_then_named(file, server):
    server.shutdown()
    server.server_close()
    waits = []
    with pytest.raises(GrafanaError, match=r"127\.0\.0\.1:\d+ cannot be reached") as caught:
        upload_dashboard(file, server.url, TOKEN, sleep=waits.append)
    assert len(waits) == 4
    assert TOKEN not in str(caught.value)


def test_a_redirect_does_not_take_the_token_along(file, server):
    other = Grafana()
    server.answers = [(302, {"Location": f"{other.url}/login?token=1"}, "")]
    try:
        with pytest.raises(GrafanaError, match="redirects to http://127.0.0.1/login,"):
            upload(file, server)
    finally:
        other.server_close()
    assert other.requests == []


@pytest.mark.parametrize("page", ["<html>a login page</html>", "[]", {"status": "fine"}])
def test_something_else_that_answers_200_is_no_success(file, server, page):
    server.answers = [(200, {}, page)]
    with pytest.raises(GrafanaError, match="is not Grafana"):
        upload(file, server)


def test_a_netrc_does_not_replace_the_token(file, server, tmp_path, monkeypatch):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login someone password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    upload(file, server)
    assert server.requests[0][1]["Authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize("url", ["grafana:3000", "", "ftp://grafana", "http://", "http://h:99999x"])
def test_an_address_that_is_none_is_refused(file, server, url):
    with pytest.raises(InputError, match="GRAFANA_URL"):
        upload(file, server, url=url)


def test_a_password_in_the_address_reaches_no_message(file, server):
    server.answers = [(401, {}, {})]
    with pytest.raises(GrafanaError) as caught:
        upload(file, server, url=server.url.replace("//", "//admin:hunter2@"))
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("token", ["", "  ", "two words", "line\nbreak", "ümlaut"])
def test_a_token_that_cannot_be_one_is_refused_unquoted(file, server, token):
    with pytest.raises(InputError, match="GRAFANA_TOKEN") as caught:
        upload(file, server, token=token)
    assert not token.strip() or token not in str(caught.value)
    assert server.requests == []


def test_a_bad_dashboard_is_not_sent(file, server):
    file.write_text(json.dumps(board(title="")))
    with pytest.raises(InputError, match="no title"):
        upload(file, server)
    assert server.requests == []


def test_a_good_dashboard_has_no_problems(file):
    assert check(file) == []


@pytest.mark.parametrize(
    ("broken", "problem"),
    [
        (board(title=""), "no title"),
        (board(uid="x" * 41), "uid"),
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
