"""What a night publishes: every dashboard, then the breaches of its run and of earlier runs that missed Grafana."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from nightgate.publish.grafana import content
from nightgate.publish.grafana.annotations import annotate, of_run
from nightgate.publish.grafana.apps import Apps
from nightgate.publish.grafana.client import Client
from nightgate.publish.grafana.errors import GrafanaError
from nightgate.publish.grafana.legacy import Legacy
from nightgate.publish.grafana.stored import Api
from nightgate.publish.grafana.upload import changes, fit, upload_dashboard
from nightgate.record import Summary

ANNOTATED = "nightly-slo"
"""The uid of the dashboard that shows the breaches."""

_NEEDED = ("dashboards:read", "dashboards:write", "folders:read", "annotations:read", "annotations:create")


def publish(
    client: Client, files: Sequence[Path], runs: Sequence[Summary], *, folder: str, message: str = ""
) -> list[str]:
    """Upload every dashboard and annotate every breach of ``runs``; returns what was done, a line each.

    Whatever is refused, the rest is still tried; only when nobody answers it ends at once.

    Raises:
        InputError: a file is not fit to upload. GrafanaError: something could not be published.
    """
    done: list[str] = []
    failures: list[GrafanaError] = []
    for file in files:
        fit(file)
    for file in files:
        try:
            answer = upload_dashboard(client, file, folder=folder, message=message)
        except GrafanaError as error:
            failures.append(_named(error, file.name))
            continue
        state = "" if answer.changed else "unchanged, "
        done.append(f"{file.name}: {state}version {answer.version} ({answer.tag}) at {answer.url}")
    try:
        count = annotate(client, ANNOTATED, [each for run in runs for each in of_run(run)])
        done.append(f"{count} new {'annotation' if count == 1 else 'annotations'} of breaches")
    except GrafanaError as error:
        failures.append(_named(error, "annotations"))
    if failures:
        what = "; ".join(error.what for error in failures)
        raise GrafanaError(what, failures[0].next_step, failures[0].status)
    return done


def dry_run(client: Client, files: Sequence[Path], *, folder: str) -> Iterator[tuple[bool, str]]:
    """What an upload would do, by reading only: whether a finding is fine, and its sentence.

    Raises:
        InputError: a file is not fit to upload. GrafanaError: Grafana cannot be read.
    """
    health = client.healthy() or {}
    yield bool(health), f"Grafana {health.get('version', 'of an unknown version')} answers at {client.host}"
    # a search is a read that the older API has and nothing else does
    api: Api = Apps(client) if client.listed("/api/search", absent=(404, 410), limit=1) is None else Legacy(client)
    uid = api.find_folder(folder)
    yield True, f"folder {folder!r} is there" if uid else f"folder {folder!r} would be made"
    needed = set(_NEEDED) if uid else {*_NEEDED, "folders:create"}
    for file in files:
        sent, _ = content.stamped(fit(file), content.now())
        stored = api.read(sent["uid"])
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
    if error.status is None and not error.unsure:
        raise error
    return GrafanaError(f"{name}: {error.what}", error.next_step, error.status)
