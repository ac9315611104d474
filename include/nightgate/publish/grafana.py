"""Put a dashboard file into Grafana: ``POST /api/dashboards/db``.

``id: null`` with a fixed ``uid`` and ``overwrite: true`` makes the upload an upsert, so that it can be repeated.
Grafana counts its own versions; ours is a timestamp and goes into a tag and the version message.
"""

from __future__ import annotations

import json
import logging
import random
import subprocess
import time
from collections.abc import Callable
from contextlib import nullcontext
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from nightgate.errors import InputError, ServiceUnavailable
from nightgate.publish.lint import check

if TYPE_CHECKING:
    import requests

log = logging.getLogger(__name__)

_TIMEOUT = (3.0, 10.0)  # seconds: connect, read
_TRIES = 5
_BACKOFF = (0.5, 8.0)  # seconds: first, longest
_RETRIED = (429, 502, 503, 504)
_MESSAGE_LIMIT = 500

_NEXT_STEP = {
    400: "mend what Grafana names in the dashboard file or the folder uid; a dashboard provisioned from a file cannot be uploaded too",
    401: "GRAFANA_TOKEN is not accepted: make a new service account token in Grafana",
    403: "give the service account the role Editor (dashboards:write, and dashboards:create for the first upload)",
    404: "check GRAFANA_URL (with its sub-path, if any) and that the dashboard's id is null",
    409: "somebody saved the dashboard at the same moment: upload it again",
    412: "another dashboard has this name or belongs to a plugin: rename one of them in Grafana",
    413: "the dashboard is larger than Grafana or its proxy accepts: remove panels or raise the limit",
    422: "Grafana cannot store this dashboard: mend what it names, most often an alert rule in a panel",
}


class GrafanaError(ServiceUnavailable):
    """The upload did not happen. ``status`` is Grafana's answer, None when there was none."""

    def __init__(self, what: str, next_step: str | None = None, status: int | None = None) -> None:
        super().__init__(what, next_step)
        self.status = status


def upload_dashboard(
    file: Path, url: str, token: str, *, message: str = "", folder_uid: str | None = None,
    session: requests.Session | None = None, deadline: float = 60.0, sleep: Callable[[float], None] = time.sleep,
) -> dict[str, Any]:  # fmt: skip
    """Create or replace the dashboard of ``file``.

    Args:
        url: Grafana's address, with its sub-path if it has one.
        token: a service account token. It is sent to this address only and appears in no message.
        message: what the version history shows, after the time and the git revision; name the run in it.
        folder_uid: without it Grafana keeps the dashboard in its root folder, and moves it back there.
        deadline: seconds for all tries and waits together.

    Returns:
        Grafana's answer (``uid``, ``version`` by its own count, ``url``, …) and our ``tag``; ``url`` is made absolute.

    Raises:
        InputError: the file, the address or the token cannot be right; nothing was sent.
        GrafanaError: Grafana refused, did not answer in time, or is not what answered.
    """
    import requests

    base = _checked_url(url)
    auth = _Bearer(token)
    if problems := check(file):
        raise InputError(
            f"{file.name} is not fit to upload: {'; '.join(problems[:3])}", "run `nightgate dashboards check`"
        )
    body, tag = _body(file, message, folder_uid)
    with nullcontext(session) if session else requests.Session() as client:
        answer = _send(client, f"{base}/api/dashboards/db", body, auth, deadline, sleep)
    if "uid" not in answer:
        raise GrafanaError(f"what answers at {base} is not Grafana's API", "check GRAFANA_URL")
    log.info("uploaded %s to %s as %s", file.name, base, tag)
    origin = urlunsplit((*urlsplit(base)[:2], "", "", ""))
    return answer | {"url": origin + str(answer.get("url", "")), "tag": tag}


def git_revision(folder: Path) -> str | None:
    """The short revision of the checkout that holds ``folder``; None outside of one."""
    command = ["git", "-C", str(folder), "rev-parse", "--short", "HEAD"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None if answer.returncode == 0 else None


class _Bearer:
    """Sets the header itself, as requests would otherwise put ``~/.netrc`` in its place."""

    def __init__(self, token: str) -> None:
        token = token.strip()
        if not token or not token.isascii() or not token.isprintable() or " " in token:
            raise InputError("GRAFANA_TOKEN is empty or holds characters no token has", "copy the token again")
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request

    def __repr__(self) -> str:
        return "<token>"

    def hide(self, text: str) -> str:
        return text.replace(self._token, "***")


def _body(file: Path, message: str, folder_uid: str | None) -> tuple[dict[str, Any], str]:
    now = datetime.now(UTC)
    tag = f"v{now:%Y-%m-%dT%H:%MZ}"
    board = json.loads(file.read_text())
    board |= {"id": None, "tags": [*board.get("tags", []), tag]}
    revision = git_revision(file.resolve().parent)
    parts = [f"{now:%Y-%m-%d %H:%M:%S} UTC", f"git {revision}" if revision else "", message]
    text = " · ".join(part for part in parts if part)[:_MESSAGE_LIMIT]
    body = {"dashboard": board, "overwrite": True, "message": text}
    if folder_uid:
        body["folderUid"] = folder_uid
    return body, tag


def _send(
    client: requests.Session, address: str, body: dict[str, Any], auth: _Bearer, deadline: float,
    sleep: Callable[[float], None],
) -> dict[str, Any]:  # fmt: skip
    import requests

    end = time.monotonic() + deadline
    host = urlsplit(address).netloc
    for number in range(1, _TRIES + 1):
        wait: float | None = None
        try:
            answer = client.post(address, json=body, auth=auth, timeout=_TIMEOUT, allow_redirects=False)
        except requests.exceptions.SSLError:
            raise GrafanaError(
                f"the certificate of {host} is not trusted", "set REQUESTS_CA_BUNDLE to its CA"
            ) from None
        except requests.exceptions.ConnectionError:
            failure = GrafanaError(f"Grafana at {host} cannot be reached", "check GRAFANA_URL and that it runs")
        except (
            requests.exceptions.RequestException
        ) as error:  # a read timeout may have been stored: say so, do not repeat
            raise GrafanaError(
                f"Grafana at {host} did not answer properly ({type(error).__name__})", "look at its log"
            ) from None
        else:
            if answer.ok and not answer.is_redirect:
                return _json(answer)
            failure = _refusal(answer, host, auth)
            if answer.status_code not in _RETRIED:
                raise failure
            wait = _retry_after(answer)
        if wait is None:
            first, longest = _BACKOFF
            wait = random.uniform(0, min(longest, first * 2**number))  # full jitter
        if number == _TRIES or time.monotonic() + wait > end:
            raise failure
        log.warning("%s; trying again in %.1f s", failure.what, wait)
        sleep(wait)
    raise AssertionError("unreachable")


def _refusal(answer: requests.Response, host: str, auth: _Bearer) -> GrafanaError:
    status = answer.status_code
    if 300 <= status < 400:
        target = urlsplit(answer.headers.get("Location", ""))
        place = urlunsplit((target.scheme, target.hostname or "", target.path, "", ""))
        return GrafanaError(
            f"{host} redirects to {place}, and the token is not sent there",
            "set GRAFANA_URL to the final address",
            status,
        )
    said = str(_json(answer).get("message") or "")[:300]
    what = f"Grafana at {host} answered {status}" + (f": {auth.hide(said)}" if said else "")
    return GrafanaError(what, _NEXT_STEP.get(status, "look at Grafana's log, then upload again"), status)


def _retry_after(answer: requests.Response) -> float | None:
    """Seconds from the header, which holds a number or a date."""
    text = answer.headers.get("Retry-After", "")
    if text.isdigit():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None


def _json(answer: requests.Response) -> dict[str, Any]:
    try:
        found = answer.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _checked_url(url: str) -> str:
    """Without a slash at the end, and without a user and password, which must not reach a message."""
    try:
        parts = urlsplit(url.strip())
        good = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        good = False
    if not good:
        raise InputError("GRAFANA_URL is not an http or https address", "write for example https://grafana.example.org")
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))
