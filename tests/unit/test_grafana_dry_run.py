"""What an upload would do, by reading only."""

import pytest
from contract.boards import files_of
from contract.grafana_server import TOKEN, Board, Fault

from nightgate.publish.grafana import Client, GrafanaError, dry_run, publish


@pytest.fixture
def client(server):
    with Client(server.url, TOKEN, sleep=lambda _: None) as made:
        yield made


def test_the_dry_run_names_what_is_not_fit_and_goes_on(client, server, tmp_path):
    bad, odd, good = files_of(tmp_path, "bad", "odd", "good")
    bad.write_text("[]")
    server.faults.append(Fault(status=500, body={"message": "no"}, matches=lambda each: each.path.endswith("/uid/odd")))
    found = list(dry_run(client, [bad, odd, good], folder="F"))
    assert found[2] == (False, "bad.json is not fit to upload: it is not a JSON object")
    assert found[3][0] is False
    assert found[3][1].startswith("odd.json: Grafana at 127.0.0.1:")
    assert found[4] == (True, "good.json would be created")


def test_no_grafana_anywhere_says_so_and_advises_no_newer_version(server, tmp_path):
    server.prefix = "/somewhere/else"
    root = server.url.removesuffix(server.prefix)
    with Client(root, TOKEN) as client, pytest.raises(GrafanaError) as caught:
        list(dry_run(client, files_of(tmp_path, "one"), folder="F"))
    assert caught.value.what == (
        f"{root}/api/health is not found; neither there nor above it does /api/health answer as Grafana's"
    )
    assert caught.value.next_step == "check GRAFANA_URL (with its sub-path, if any)"
    assert {each.headers.get("Authorization") for each in server.requests[1:]} == {None}, "the token goes nowhere else"


def test_the_dry_run_only_reads_and_tells_what_would_change(client, server, tmp_path):
    one, two, three = files_of(tmp_path, "one", "two", "three")
    assert all(fine for fine, _ in dry_run(client, [one], folder="F"))
    publish(client, [one, two], [], folder="F")
    server.boards["two"].spec["title"] = "Edited"
    written = len(server.writes)
    lines = [line for _, line in dry_run(client, [one, two, three], folder="F")]
    assert len(server.writes) == written
    assert lines == [
        f"Grafana 12.4.0 answers at 127.0.0.1:{server.server_port}",
        "folder 'F' is there",
        "one.json is unchanged, version 1",
        "two.json would replace version 1: title",
        "three.json would be created",
        "the token has every permission it needs",
    ]


def test_the_dry_run_reads_the_newer_api_where_there_is_no_older(client, server, tmp_path):
    server.legacy = False
    (one,) = files_of(tmp_path, "one")
    publish(client, [one], [], folder="F")
    assert (True, "one.json is unchanged, version 1") in list(dry_run(client, [one], folder="F"))


def test_the_dry_run_finds_what_an_upload_would_fail_at(client, server, tmp_path):
    one, two = files_of(tmp_path, "one", "two")
    server.permissions -= {"dashboards:create", "annotations:create"}
    server.boards["two"] = Board(spec={"title": "two"}, folder="", versions=["v"], provisioned=True)
    bad = [line for fine, line in dry_run(client, [one, two], folder="F") if not fine]
    assert bad[0].startswith("two.json is provisioned from a file")
    assert bad[1].startswith("the token lacks annotations:create, dashboards:create: give")
    server.permissions.remove("folders:create")
    assert "folders:create" in list(dry_run(client, [two], folder="F"))[-1][1]
    server.readable_permissions = False
    assert list(dry_run(client, [one], folder="F"))[-1] == (True, "the permissions of the token cannot be read")
