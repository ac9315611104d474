"""One dashboard: read, compare, write, read back. Without a change there is no new version."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nightgate.errors import InputError
from nightgate.publish import boardfile
from nightgate.publish.grafana import content
from nightgate.publish.grafana.apps import Apps
from nightgate.publish.grafana.client import Client
from nightgate.publish.grafana.errors import GrafanaError
from nightgate.publish.grafana.legacy import Legacy
from nightgate.publish.grafana.stored import Api, Stored, folder_title
from nightgate.publish.jsonvalue import JsonObject
from nightgate.publish.lint import problems_of

log = logging.getLogger(__name__)

CHECK = "run `nightgate dashboards check`"

_TRIES = 3


@dataclass(frozen=True, slots=True)
class Uploaded:
    """A dashboard as it is in Grafana now.

    ``version`` is Grafana's own count, ``tag`` ours, the UTC time of the last change; ``changed`` tells whether this
    upload made a new version.
    """

    uid: str
    version: int
    url: str
    tag: str
    changed: bool


def upload_dashboard(client: Client, file: Path, *, folder: str, message: str = "") -> Uploaded:
    """Create or replace the dashboard of ``file``, unless Grafana already has it so.

    Args:
        folder: the title of the folder it goes into; the folder is made when it is missing.
        message: what the version history shows after the time and the git revision; name the run in it.

    Raises:
        InputError: the file is not fit to upload, or no folder can be called so; nothing was sent.
        GrafanaError: Grafana refused, did not answer in time, or kept something else than what was sent.
    """
    board, folder = fit(file), folder_title(folder)
    now = content.now()
    sent, tag = content.stamped(board, now)
    text = content.message(message, file.resolve().parent, now)
    try:
        return _upload(Legacy(client), client, sent, folder, text, tag)
    except GrafanaError as error:
        if not error.gone:
            raise
        if (mislaid := client.mislaid(error)) is not error:
            raise mislaid from None
        log.info("Grafana at %s has no /api/dashboards/db any more, /apis is used", client.host)
    return _upload(Apps(client), client, sent, folder, text, tag)


def fit(file: Path) -> JsonObject:
    """The dashboard in a file; InputError when `nightgate.publish.lint` finds something in it."""
    try:
        board = boardfile.read(file)
    except InputError as error:
        raise InputError(unfit(file, [error.what]), CHECK) from None
    if problems := problems_of(board):
        raise InputError(unfit(file, problems), CHECK)
    return board


def unfit(file: Path, problems: Sequence[str]) -> str:
    """The sentence that refuses a file."""
    more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
    return f"{file.name} is not fit to upload: {'; '.join(problems[:3])}{more}"


def changes(api: Api, sent: JsonObject, folder: str | None, stored: Stored) -> list[str]:
    """What an upload would change in a stored dashboard; empty when nothing."""
    moved = [] if stored.folder == folder else ["its folder"]
    return moved + content.differences(sent, stored.board, verbatim=api.verbatim)


def _upload(api: Api, client: Client, sent: JsonObject, title: str, message: str, tag: str) -> Uploaded:
    folder = api.find_folder(title) or api.make_folder(title)
    uid = str(sent["uid"])
    stored = api.read(uid)
    if stored and not changes(api, sent, folder, stored):
        log.info("%s is unchanged at %s", uid, client.host)
        return Uploaded(uid, stored.version, stored.url, content.version_tag(stored.board), changed=False)
    for number in range(1, _TRIES + 1):
        failure = None
        try:
            api.write(sent, folder, message, stored)
        except GrafanaError as error:
            # it may have happened, or somebody else's did: look, then write on top of what is there, a conflict once
            if number == _TRIES or not (error.unsure or (error.conflict and number == 1)):
                raise
            failure = error
            client.pause(number)
        stored = api.read(uid)
        wrong = changes(api, sent, folder, stored) if stored else ["all of it"]
        if stored and not wrong:
            log.info("uploaded %s to %s as %s", uid, client.host, tag)
            return Uploaded(uid, stored.version, stored.url, content.version_tag(stored.board), changed=True)
        if failure is None:
            raise GrafanaError(
                f"Grafana at {client.host} took {uid} and keeps something else: {', '.join(wrong[:5])}",
                "look who else writes this dashboard, then upload again",
            )
    raise AssertionError("unreachable")
