"""After a run: all dashboards, each breach once, and what earlier runs missed."""

import json
import os
from datetime import UTC, datetime, timedelta

import pytest
from contract.boards import board, files_of, panel
from contract.grafana_server import TOKEN, Board, Fault
from typer.testing import CliRunner

from nightgate import cli, paths, steps, uploading
from nightgate.errors import InputError, Unavailable
from nightgate.publish.grafana import Client, GrafanaError, dry_run, publish, upload_dashboard
from nightgate.publish.grafana.annotations import annotate, of_run
from nightgate.record import Host, Objective, Record, Summary
from nightgate.results import files


def night(
    run_id="night-1",
    *,
    days=0,
    verdict="breach",
    dag_id="nightly_benchmarks",
    metrics=("latency_p95", "wer"),
    scheduled=True,
    overrides=None,
):
    end = datetime.now(UTC) - timedelta(days=days)
    objectives = [Objective(metric=metric, op="<", limit=0.02, value=0.03, verdict=verdict) for metric in metrics]
    record = Record(benchmark="hybrid_ann", variant="hybrid", device="cpu", status="measured", objectives=objectives)
    return Summary(
        run_id=run_id,
        dag_id=dag_id,
        scale="smoke",
        state=verdict,
        started_at=stamp(end - timedelta(minutes=3)),
        finished_at=stamp(end),
        host=Host(fingerprint="f", cpu="c", cores=2, memory_bytes=1),
        results=[record],
        scheduled=scheduled,
        overrides=overrides or {},
    )


def stamp(moment):
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


@pytest.fixture
def client(server):
    with Client(server.url, TOKEN, sleep=lambda _: None) as made:
        yield made


@pytest.fixture
def slo(server):
    """The dashboard that the breaches belong to."""
    server.boards["nightly-slo"] = Board(spec=board(title="Nightly-SLO"), folder="", versions=["one"])


@pytest.fixture
def project(server, tmp_path, monkeypatch):
    """The environment and the folders of a project that publishes to ``server``."""
    monkeypatch.setenv("GRAFANA_URL", server.url)
    monkeypatch.setenv("GRAFANA_TOKEN", TOKEN)
    monkeypatch.delenv("GRAFANA_FOLDER", raising=False)
    monkeypatch.setenv("NIGHTGATE_RUNS", str(tmp_path / "runs"))


def test_each_breach_is_an_annotation_with_the_time_and_the_tags_of_its_run(client, server, slo):
    summary = night()
    assert annotate(client, "nightly-slo", of_run(summary)) == 2
    first = server.annotations[0]
    assert first["dashboardUID"] == "nightly-slo"
    assert first["time"] == round(datetime.fromisoformat(summary.started_at).timestamp() * 1000)
    assert first["timeEnd"] == round(datetime.fromisoformat(summary.finished_at).timestamp() * 1000)
    assert first["tags"] == [
        "nightgate",
        "breach",
        "run:night-1",
        "test:hybrid_ann.hybrid.cpu",
        "metric:latency_p95",
    ]
    assert "P95 latency is 30.0 ms, the limit < 20 ms" in first["text"]
    assert first["text"].endswith(", 50 % past it. Run night-1")


@pytest.mark.parametrize("verdict", ["pass", "inconclusive", "invalid"])
def test_what_is_no_breach_is_no_annotation(verdict):
    assert of_run(night(verdict=verdict)) == []


def test_an_annotation_is_posted_once_whatever_happens(client, server, slo):
    runs = [
        night(run_id) for run_id in ("scheduled__2026-11-22T02:00:00+00:00", "scheduled__2026-11-22T02:30:00+00:00")
    ]
    wanted = [each for run in runs for each in of_run(run)]
    assert annotate(client, "nightly-slo", wanted) == 4
    assert annotate(client, "nightly-slo", wanted) == 0
    assert len(server.annotations) == 4


def test_a_long_run_id_fits_into_a_tag(client, server, slo):
    runs = [night("x" * 180 + end) for end in "ab"]
    wanted = [each for run in runs for each in of_run(run)]
    assert annotate(client, "nightly-slo", wanted) == 4
    assert annotate(client, "nightly-slo", wanted) == 0


@pytest.mark.parametrize("done", [True, False])
@pytest.mark.parametrize("how", ["drop", "half"])
def test_an_annotation_whose_answer_was_lost_is_posted_once(client, server, slo, how, done):
    server.faults.append(Fault(how, done=done, matches=lambda request: request.writes))
    annotate(client, "nightly-slo", of_run(night()))
    assert len(server.annotations) == 2


def test_what_was_not_posted_is_posted_by_the_next_call(client, server, slo):
    server.faults += [Fault(status=500, matches=lambda request: request.writes)]
    with pytest.raises(GrafanaError):
        annotate(client, "nightly-slo", of_run(night()))
    annotate(client, "nightly-slo", of_run(night()))
    assert len(server.annotations) == 2


def test_annotations_need_permissions_that_are_named(client, server, slo):
    server.permissions.remove("annotations:create")
    with pytest.raises(GrafanaError, match="the permission annotations:create"):
        annotate(client, "nightly-slo", of_run(night()))


def test_an_annotation_needs_its_dashboard_and_the_path(client, server):
    with pytest.raises(GrafanaError, match="404: Dashboard not found.*whether the dashboard nightly-slo is there"):
        annotate(client, "nightly-slo", of_run(night()))
    server.annotations_api = False
    with pytest.raises(GrafanaError, match="still has /api/annotations"):
        annotate(client, "nightly-slo", of_run(night()))


def test_breaches_are_annotated_where_the_older_dashboard_path_is_gone(client, server, tmp_path):
    server.legacy = False
    publish(client, files_of(tmp_path, "nightly-slo"), [night()], folder="F")
    assert len(server.annotations) == 2


def test_what_is_refused_does_not_hold_back_the_rest(client, server, tmp_path):
    server.boards["one"] = Board(spec={"title": "one"}, folder="", versions=["v"], provisioned=True)
    with pytest.raises(GrafanaError, match=r"one\.json: .*400: Cannot save provisioned"):
        publish(client, files_of(tmp_path, "one", "nightly-slo"), [night()], folder="F")
    assert server.boards["nightly-slo"].version == 1
    assert len(server.annotations) == 2


def test_when_nobody_answers_it_ends_with_the_first_dashboard(server, tmp_path):
    server.shutdown()
    server.server_close()
    waits = []
    with (
        Client(server.url, TOKEN, sleep=waits.append) as client,
        pytest.raises(GrafanaError, match="cannot be reached"),
    ):
        publish(client, files_of(tmp_path, "one", "two"), [night()], folder="F")
    assert len(waits) == 4


def test_files_that_are_not_fit_are_named_and_the_rest_is_published(client, server, tmp_path):
    worse, bad, good = files_of(tmp_path, "worse", "bad", "nightly-slo")
    worse.write_text(json.dumps(board(uid="worse", title="W", panels=[panel(1, datasource="Prometheus")])))
    bad.write_text("{")
    with pytest.raises(InputError) as caught:
        publish(client, [worse, bad, good], [night()], folder="F")
    assert set(server.boards) == {"nightly-slo"}
    assert len(server.annotations) == 2
    assert caught.value.next_step == "run `nightgate dashboards check`"
    first, second, rest = caught.value.what.split("; ")
    assert first == (
        "worse.json is not fit to upload: panel 'Panel 1' does not use the datasource variable: it names 'Prometheus', "
        "which another Grafana does not have"
    )
    assert second.startswith("bad.json is not fit to upload: it cannot be read as JSON (")
    assert rest.startswith("published all the same: nightly-slo.json: version 1 (v2")
    assert rest.endswith("/d/nightly-slo/a-slug, 2 new annotations of breaches")


@pytest.mark.parametrize(("uids", "titles"), [(("x", "x"), ("A", "B")), (("x", "y"), ("A", "A"))])
def test_two_files_that_would_replace_each_other_are_both_refused(client, server, tmp_path, uids, titles):
    made = files_of(tmp_path, "one", "two", "three")
    for file, uid, title in zip(made[:2], uids, titles, strict=True):
        file.write_text(json.dumps(board(uid=uid, title=title)))
    key, value = ("uid", "x") if uids[0] == uids[1] else ("title", "A")
    with pytest.raises(InputError) as caught:
        publish(client, made, [], folder="F")
    assert f"one.json is not fit to upload: two.json has the same {key} {value!r}; " in caught.value.what
    assert f"two.json is not fit to upload: one.json has the same {key} {value!r}; " in caught.value.what
    assert set(server.boards) == {"three"}


def test_what_grafana_keeps_otherwise_does_not_hold_back_the_rest(client, server, tmp_path):
    server.folders["f"] = "F"
    server.boards["one"] = Board(spec=board(title="Old"), folder="f", versions=["one"])
    kept = Fault(status=200, body={"uid": "one", "version": 1}, matches=lambda each: each.path == "/api/dashboards/db")
    server.faults.append(kept)
    with pytest.raises(GrafanaError, match=r"^one\.json: Grafana at .* keeps something else: title"):
        publish(client, files_of(tmp_path, "one", "nightly-slo"), [night()], folder="F")
    assert server.boards["nightly-slo"].version == 1
    assert len(server.annotations) == 2


def test_refused_by_us_and_by_grafana_are_told_together(client, server, tmp_path):
    bad, provisioned = files_of(tmp_path, "bad", "p")
    bad.write_text("[]")
    server.boards["p"] = Board(spec={"title": "p"}, folder="", versions=["v"], provisioned=True)
    with pytest.raises(GrafanaError) as caught:
        publish(client, [bad, provisioned], [], folder="F")
    assert caught.value.what.startswith(
        "bad.json is not fit to upload: it is not a JSON object; p.json: Grafana at 127.0.0.1:"
    )
    assert caught.value.what.endswith("published all the same: 0 new annotations of breaches")
    assert caught.value.next_step == (
        "mend what Grafana names in the dashboard file; a dashboard provisioned from a file cannot be uploaded too; "
        "run `nightgate dashboards check`"
    )
    assert caught.value.status == 400


def test_what_meets_every_request_is_told_once(client, server, tmp_path):
    server.token = "glsa_another"
    with pytest.raises(GrafanaError) as caught:
        publish(client, files_of(tmp_path, "one", "two"), [night()], folder="F")
    assert caught.value.what == f"Grafana at 127.0.0.1:{server.server_port} answered 401: Invalid API key"
    assert len(server.requests) == 1


def test_a_file_that_changes_after_it_was_checked_is_refused_then(client, server, tmp_path, monkeypatch):
    made = files_of(tmp_path, "one", "two")
    monkeypatch.setattr("nightgate.publish.grafana.night.check_all", lambda files: {file: [] for file in files})
    made[0].write_text("{")
    with pytest.raises(InputError, match=r"^one\.json is not fit to upload: .* published all the same: two\.json"):
        publish(client, made, [], folder="F")


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("A/B", "'A/B' is a path"),
        ("/", "is a path"),
        ("", "is no title"),
        ("  ", "is no title"),
        ("a\nb", "is no title"),
        ("x" * 190, "is no title"),
        ("General", "without a folder"),
        ("general ", "without a folder"),
    ],
)
def test_a_folder_that_cannot_be_is_refused_before_anything_is_sent(client, server, tmp_path, name, problem):
    made = files_of(tmp_path, "one")
    for work in (
        lambda: publish(client, made, [], folder=name),
        lambda: list(dry_run(client, made, folder=name)),
        lambda: upload_dashboard(client, made[0], folder=name),
    ):
        with pytest.raises(InputError, match=f"GRAFANA_FOLDER=.*{problem}"):
            work()
    assert server.requests == []


def test_spaces_around_a_folder_are_none_of_its_title(client, server, tmp_path):
    publish(client, files_of(tmp_path, "one"), [], folder=" " + "x" * 189 + " ")
    assert list(server.folders.values()) == ["x" * 189]


def test_a_folder_that_is_a_path_ends_the_upload_of_a_run(project, server, monkeypatch):
    monkeypatch.setenv("GRAFANA_FOLDER", "A/B")
    assert command("upload").exception.exit_code == 2
    assert server.requests == []


@pytest.mark.parametrize("legacy", [True, False], ids=["api", "apis"])
@pytest.mark.parametrize("wrong", ["/dashboards", "/d/abc/board", "/grafana/login", "/grafana/api"])
@pytest.mark.parametrize("prefix", ["", "/grafana"])
def test_a_wrong_path_is_answered_with_the_right_address(server, tmp_path, wrong, prefix, legacy):
    server.prefix, server.legacy = prefix, legacy
    root = server.url.removesuffix(prefix)
    made = files_of(tmp_path, "one", "two")
    for work in (
        lambda client: publish(client, made, [night()], folder="F"),
        lambda client: list(dry_run(client, made, folder="F")),
    ):
        with (
            Client(root + wrong, TOKEN, sleep=lambda _: None) as client,
            pytest.raises(GrafanaError, match=f"Grafana answers at {server.url}[.]") as caught,
        ):
            work(client)
        assert caught.value.next_step == f"set GRAFANA_URL={server.url}"
        assert "one.json" not in caught.value.what


def test_a_run_publishes_every_dashboard_into_the_folder(project, server, monkeypatch):
    monkeypatch.setenv("GRAFANA_FOLDER", "Ours")
    files.write_summary(night())
    done = steps.upload("night-1")
    assert set(server.boards) == {"cache-backpressure", "nightly-slo"}
    assert server.folders == {"ours": "Ours"}
    assert len(server.annotations) == 2
    assert done[0].startswith("cache-backpressure.json: version 1 (v2")
    assert done[-1] == "2 new annotations of breaches"
    assert "unchanged, version 1" in steps.upload("night-1")[0]
    assert TOKEN not in " ".join(done)


def test_a_night_without_grafana_is_caught_up_by_the_next(project, server, monkeypatch):
    files.write_summary(night("night-1", days=1))
    monkeypatch.setattr("nightgate.publish.grafana.client.jitter", lambda _: 0.0)
    monkeypatch.setenv("GRAFANA_URL", "http://127.0.0.1:9")  # nobody listens there
    with pytest.raises(GrafanaError, match="cannot be reached"):
        steps.upload("night-1")
    assert files.read_summary("night-1").state == "breach"

    monkeypatch.setenv("GRAFANA_URL", server.url)
    files.write_summary(night("night-2", metrics=["wer"]))
    steps.upload("night-2")
    tags = [each["tags"][2] for each in server.annotations]
    assert tags == ["run:night-1", "run:night-1", "run:night-2"]
    steps.upload("night-3")
    assert len(server.annotations) == 3


def test_neither_old_runs_nor_those_by_hand_nor_torn_ones_are_annotated(project, server):
    files.write_summary(night("old", days=40))
    files.write_summary(night("by-hand", dag_id=steps.BY_HAND))
    for name in ("torn", "running"):
        (paths.runs_dir() / name).mkdir(parents=True)
    (paths.runs_dir() / "torn" / "summary.json").write_text("{")
    steps.upload("night-1")
    assert server.annotations == []


def test_only_breaches_of_nights_are_annotated_and_of_what_stands_in_for_one_until_then(project, server):
    adhoc = night("ad-hoc", scheduled=False, overrides={"hybrid_ann.rows": 5000}, metrics=["wer"])
    files.write_summary(adhoc)
    steps.upload("x")
    assert server.annotations == []
    files.write_summary(night("stand-in", days=2, scheduled=False, metrics=["wer"]))
    files.write_summary(night("stand-in-later", days=1, scheduled=False, metrics=["wer"]))
    assert [run.run_id for run in uploading._recent_nights()] == ["stand-in", "stand-in-later"]
    files.write_summary(night("scheduled", days=3, metrics=["wer"]))
    files.write_summary(night("long-ago", days=15, metrics=["wer"]))
    assert [run.run_id for run in uploading._recent_nights()] == ["scheduled"]
    steps.upload("x")
    assert [each["tags"][2] for each in server.annotations] == ["run:scheduled"]


def test_any_number_of_ad_hoc_runs_hides_no_night(project, monkeypatch):
    files.write_summary(night("scheduled", days=3))
    for number in range(120):
        files.write_summary(night(f"ad-hoc-{number}", scheduled=False, overrides={"hybrid_ann.rows": number}))
    assert [run.run_id for run in uploading._recent_nights()] == ["scheduled"]


def test_a_folder_that_nobody_touched_for_weeks_is_not_read(project, monkeypatch):
    files.write_summary(night("scheduled", days=3))
    files.write_summary(night("older", days=4))
    long_ago = (datetime.now(UTC) - timedelta(days=15)).timestamp()
    os.utime(paths.run_dir("older"), (long_ago, long_ago))
    read = []
    monkeypatch.setattr(
        files, "read_summary", lambda run_id, own=files.read_summary: read.append(run_id) or own(run_id)
    )
    uploading._recent_nights()
    assert read == ["scheduled"]


def command(*words):
    return CliRunner().invoke(cli.app, ["dashboards", *words])


def test_the_command_checks_the_files_and_then_the_server(project, server):
    result = command("check")
    assert result.exit_code == 0
    assert "every dashboard is valid" in result.output
    assert "cache-backpressure.json would be created" in result.output
    assert server.writes == []
    server.permissions.remove("dashboards:write")
    assert command("check").exit_code == 3
    os.environ.pop("GRAFANA_TOKEN")
    result = command("check")
    assert result.exit_code == 0
    assert "GRAFANA_TOKEN not set" in result.output


def test_the_command_uploads(project, server):
    result = command("upload")
    assert result.exit_code == 0
    assert "nightly-slo.json: version 1" in result.output
    assert server.boards["nightly-slo"].versions[0].endswith("run manual")


def test_without_grafana_nothing_is_rehearsed(monkeypatch):
    monkeypatch.delenv("GRAFANA_URL", raising=False)
    with pytest.raises(Unavailable):
        steps.rehearse_upload()
