"""What a night publishes: every dashboard, then the breaches of its run and of earlier runs that missed Grafana."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from nightgate.errors import InputError
from nightgate.publish.grafana import content
from nightgate.publish.grafana.annotations import annotate, of_run
from nightgate.publish.grafana.apps import Apps
from nightgate.publish.grafana.client import Client
from nightgate.publish.grafana.errors import GrafanaError
from nightgate.publish.grafana.legacy import Legacy
from nightgate.publish.grafana.stored import Api, folder_title
from nightgate.publish.grafana.upload import CHECK, changes, fit, unfit, upload_dashboard
from nightgate.publish.lint import check_all
from nightgate.record import Summary

ANNOTATED = "nightly-slo"
"""The uid of the dashboard that shows the breaches."""

_NEEDED = ("dashboards:read", "dashboards:write", "folders:read", "annotations:read", "annotations:create")


def publish(
    client: Client, files: Sequence[Path], runs: Sequence[Summary], *, folder: str, message: str = ""
) -> list[str]:
    """Upload every dashboard and annotate every breach of ``runs``; returns what was done, a line each.

    Whatever is refused, by us or by Grafana, the rest is still tried; only what would meet every request ends it at
    once.

    Raises:
        InputError: files are not fit to upload, and the rest is published; or no folder can be called so.
        GrafanaError: something could not be published.
    """
    folder = folder_title(folder)
    refused = {file: unfit(file, problems) for file, problems in check_all(files).items() if problems}
    done: list[str] = []
    failures: list[GrafanaError] = []
    for file in files:
        if file in refused:
            continue
        try:
            answer = upload_dashboard(client, file, folder=folder, message=message)
        except InputError as error:  # it changed since it was checked
            refused[file] = error.what
            continue
        except GrafanaError as error:
            failures.append(_named(error, file.name))
            if error.general:
                break
            continue
        state = "" if answer.changed else "unchanged, "
        done.append(f"{file.name}: {state}version {answer.version} ({answer.tag}) at {answer.url}")
    if not any(error.general for error in failures):
        try:
            count = annotate(client, ANNOTATED, [each for run in runs for each in of_run(run)])
            done.append(f"{count} new {'annotation' if count == 1 else 'annotations'} of breaches")
        except GrafanaError as error:
            failures.append(_named(error, "annotations"))
    _tell(list(refused.values()), failures, done)
    return done


def _tell(refused: list[str], failures: list[GrafanaError], done: list[str]) -> None:
    """Raise what went wrong, all of it, with what was published all the same."""
    rest = [f"published all the same: {', '.join(done)}"] if done else []
    if failures:
        steps = dict.fromkeys(step for error in failures if (step := error.next_step))
        steps |= dict.fromkeys([CHECK] if refused else [])
        whats = [*refused, *(error.what for error in failures), *rest]
        raise GrafanaError("; ".join(whats), "; ".join(steps), failures[0].status)
    if refused:
        raise InputError("; ".join([*refused, *rest]), CHECK)


def dry_run(client: Client, files: Sequence[Path], *, folder: str) -> Iterator[tuple[bool, str]]:
    """What an upload would do, by reading only: whether a finding is fine, and its sentence.

    Raises:
        InputError: no folder can be called so. GrafanaError: Grafana cannot be read.
    """
    folder = folder_title(folder)
    health = client.healthy()
    if health is None:
        raise client.mislaid(GrafanaError(f"{client.base}/api/health is not found", "check GRAFANA_URL", 404))
    yield True, f"Grafana {health.get('version', 'of an unknown version')} answers at {client.host}"
    # a search is a read that the older API has and nothing else does
    api: Api = (
        Apps(client) if client.listed("/api/search", absent=(404, 410), params={"limit": 1}) is None else Legacy(client)
    )
    uid = api.find_folder(folder)
    yield True, f"folder {folder!r} is there" if uid else f"folder {folder!r} would be made"
    needed = set(_NEEDED) if uid else {*_NEEDED, "folders:create"}
    for file, problems in check_all(files).items():
        if problems:
            yield False, unfit(file, problems)
            continue
        sent, _ = content.stamped(fit(file), content.now())
        try:
            stored = api.read(str(sent["uid"]))
        except GrafanaError as error:
            if error.general:
                raise
            yield False, f"{file.name}: {error}"
            continue
        if stored is None:
            needed.add("dashboards:create")
            yield True, f"{file.name} would be created"
        elif stored.provisioned:
            yield False, f"{file.name} is provisioned from a file in Grafana, which refuses uploads of the same uid"
        elif paths := changes(api, sent, uid, stored):
            more = f" and {len(paths) - 5} more" if len(paths) > 5 else ""
            yield True, f"{file.name} would replace version {stored.version}: {', '.join(paths[:5])}{more}"
        else:
            yield True, f"{file.name} is unchanged, version {stored.version}"
    yield _permissions(client, needed)


def _permissions(client: Client, needed: set[str]) -> tuple[bool, str]:
    held = client.get("/api/access-control/user/permissions", absent=(403, 404, 410))
    if held is None:
        return True, "the permissions of the token cannot be read"
    lacking = sorted(needed - held.keys())
    if lacking:
        return False, f"the token lacks {', '.join(lacking)}: give its service account the role Editor"
    return True, "the token has every permission it needs"


def _named(error: GrafanaError, name: str) -> GrafanaError:
    what = error.what if error.general else f"{name}: {error.what}"
    return GrafanaError(what, error.next_step, error.status, general=error.general)
