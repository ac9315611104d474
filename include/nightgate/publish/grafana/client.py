"""One connection to Grafana: what may be repeated is repeated, and one deadline bounds all of it.

A read is repeated after any failure of the network. A write is repeated here only when it cannot have happened:
no connection, 429 or 503. After anything else the error is marked ``unsure``, and the caller looks before it
writes again.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from pydantic import JsonValue
from tenacity import RetryCallState, Retrying, retry_if_exception_type

from nightgate.publish.grafana import causes, whereabouts
from nightgate.publish.grafana.access import Bearer, checked_url, without_secrets
from nightgate.publish.grafana.errors import GrafanaError, next_step
from nightgate.publish.grafana.tries import jitter, never_sent, retry_after, within
from nightgate.publish.jsonvalue import JsonObject

if TYPE_CHECKING:
    import requests

Params = Mapping[str, "str | int | list[str]"]

log = logging.getLogger(__name__)

_CONNECT, _BETWEEN = 3.0, 10.0  # seconds: to connect, and between two packets
_ANSWER = 30.0  # seconds for one whole answer: a server that sends a byte now and then must not hold a night
_LOOK = 5.0  # seconds for one look around
_TRIES = 5
_PASSING = (429, 502, 503, 504)
_NOT_DONE = (429, 503)  # the server says that it did not do it


class _Passing(Exception):
    """A ``failure`` that another try may mend, after ``wait`` seconds where the server says how many."""

    def __init__(self, failure: GrafanaError, wait: float | None) -> None:
        super().__init__(failure.what)
        self.failure, self.wait = failure, wait


def _pause(state: RetryCallState) -> float:
    passing = state.outcome.exception() if state.outcome else None
    said = passing.wait if isinstance(passing, _Passing) else None
    return jitter(state.attempt_number) if said is None else said


def _say(state: RetryCallState) -> None:
    log.warning("%s; trying again in %.1f s", state.outcome and state.outcome.exception(), state.upcoming_sleep)


class Client:
    """Speaks JSON with the Grafana at ``url``; use it as a context manager.

    Args:
        url: Grafana's address, with its sub-path if it has one.
        token: a service account token. It is sent to this address only and appears in no message and no result.
        deadline: seconds for everything this client does, waits included.
        session: a prepared ``requests.Session``, which stays open.
        sleep: how to wait.

    Raises:
        InputError: the address or the token cannot be right.
    """

    def __init__(
        self,
        url: str,
        token: str,
        *,
        deadline: float = 120.0,
        session: requests.Session | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        import requests

        self.base, self._auth = checked_url(url), Bearer(token)
        self.host = urlsplit(self.base).netloc
        self._session, self._owned = session or requests.Session(), session is None
        self._end, self._sleep = time.monotonic() + deadline, sleep

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        if self._owned:
            self._session.close()

    def link(self, path: str) -> str:
        """The whole address of a path that Grafana gave; its sub-path is already in it."""
        return urlunsplit((*urlsplit(self.base)[:2], "", "", "")) + path

    def get(
        self, path: str, needs: str = "", absent: tuple[int, ...] = (), params: Params | None = None
    ) -> JsonObject | None:
        """The JSON object at a path; None when the status is one of ``absent``. ``needs`` is the permission it takes.

        Raises:
            GrafanaError: refused, not reached in time, or not Grafana.
        """
        answer = self._read(path, needs, absent, params)
        if answer is None or isinstance(answer, dict):
            return answer
        raise self.foreign()

    def listed(
        self, path: str, needs: str = "", absent: tuple[int, ...] = (), params: Params | None = None
    ) -> list[JsonObject] | None:
        """As `get`, where an array of objects is answered."""
        answer = self._read(path, needs, absent, params)
        if answer is None:
            return None
        if isinstance(answer, list):
            objects = [each for each in answer if isinstance(each, dict)]
            if len(objects) == len(answer):
                return objects
        raise self.foreign()

    def write(self, method: str, path: str, body: JsonObject, needs: str = "") -> JsonObject:
        """Send one write; returns the answer.

        Raises:
            GrafanaError: as for `get`; ``unsure`` when the write may have happened.
        """
        answer = self._request(method, path, needs, body, None)
        if not isinstance(answer, dict):
            raise self.foreign()
        return answer

    def healthy(self) -> JsonObject | None:
        """What ``/api/health`` says (``version``, ``database``); None when it is not there."""
        return self.get("/api/health", absent=(404, 410))

    def pause(self, number: int) -> None:
        """Wait before try ``number`` + 1, with full jitter."""
        self._sleep(jitter(number))

    def foreign(self) -> GrafanaError:
        """The error for an answer that Grafana does not give."""
        what = f"what answers at {self.base} is not Grafana's API"
        step = "look what answers in its place, most often a proxy with a login of its own, and let /api and /apis pass"
        return self.mislaid(GrafanaError(what, step))

    def mislaid(self, error: GrafanaError) -> GrafanaError:
        """``error`` when Grafana's health answers at this address; else the error that says where it does."""
        right = whereabouts.find(self.base, self._look)
        if right == self.base:
            return error
        if right:
            what, step = f"{error.what}; Grafana answers at {right}", f"set GRAFANA_URL={right}"
        else:
            what = f"{error.what}; neither there nor above it does {whereabouts.HEALTH} answer as Grafana's"
            step = "check GRAFANA_URL (with its sub-path, if any)"
        return GrafanaError(what, step, error.status, general=True)

    def _read(self, path: str, needs: str, absent: tuple[int, ...], params: Params | None) -> JsonValue:
        try:
            answer = self._request("GET", path, needs, None, params)
        except GrafanaError as error:
            if error.status in absent:
                return None
            raise
        if answer is None:  # a JSON null is not what `absent` means
            raise self.foreign()
        return answer

    def _request(self, method: str, path: str, needs: str, body: JsonObject | None, params: Params | None) -> JsonValue:
        tries = Retrying(
            retry=retry_if_exception_type(_Passing),
            stop=self._over,
            wait=_pause,
            sleep=self._sleep,
            before_sleep=_say,
            reraise=True,
        )
        try:
            return tries(self._once, method, path, needs, body, params)
        except _Passing as passing:
            raise passing.failure from None

    def _once(self, method: str, path: str, needs: str, body: JsonObject | None, params: Params | None) -> JsonValue:
        """One try. Raises _Passing when another may help."""
        read = method == "GET"
        answer = self._answer(method, path, body, params)
        wait = None
        if isinstance(answer, Exception):
            failure, again = self._lost(answer, read)
        elif answer.ok and not answer.is_redirect:
            return self._json(answer)
        else:
            failure = self._refusal(answer, path, needs, read)
            again = answer.status_code in (_PASSING if read else _NOT_DONE)
            wait = retry_after(answer)
        raise _Passing(failure, wait) if again else failure

    def _over(self, state: RetryCallState) -> bool:
        return state.attempt_number >= _TRIES or time.monotonic() + state.upcoming_sleep > self._end

    def _answer(
        self, method: str, path: str, body: JsonObject | None, params: Params | None
    ) -> requests.Response | Exception:
        """One try. Errors come back as values: raised further, they would carry the request with its token."""
        left = min(self._end - time.monotonic(), _ANSWER)
        if left <= 0:
            return TimeoutError()
        return within(
            left,
            lambda: self._session.request(
                method,
                self.base + path,
                json=body,
                params=params,
                auth=self._auth,
                allow_redirects=False,
                timeout=(min(left, _CONNECT), min(left, _BETWEEN)),
            ),
        )

    def _look(self, base: str) -> str | None:
        """Where Grafana's health is, asked for below ``base`` once and without the token."""
        left = min(self._end - time.monotonic(), _LOOK)
        if left <= 0:
            return None
        answer = within(left, lambda: self._ask_without_token(base + whereabouts.HEALTH, left))
        if isinstance(answer, Exception):
            return None
        if answer.is_redirect:
            return whereabouts.target_base(base, whereabouts.HEALTH, answer.headers["Location"])
        try:
            body = json.loads(answer.text)
        except ValueError:
            return None
        return base if isinstance(body, dict) and "database" in body else None

    def _ask_without_token(self, url: str, seconds: float) -> requests.Response:
        return self._session.get(url, auth=lambda request: request, allow_redirects=False, timeout=seconds)

    def _lost(self, error: Exception, read: bool) -> tuple[GrafanaError, bool]:
        """The error for a try without an answer, and whether to try again."""
        import requests

        if isinstance(error, requests.exceptions.SSLError):
            return self._general(causes.of_tls(error, self.base)), False
        if cause := causes.of_settings(error):
            return self._general(cause), False
        if never_sent(error):
            return self._general(causes.of_no_connection(error, self.base)), True
        late = isinstance(error, (TimeoutError, requests.exceptions.ReadTimeout))
        how = "in time" if late else f"properly ({type(error).__name__})"
        what = f"Grafana at {self.host} did not answer {how}"
        return GrafanaError(what, "look at its log, then upload again", unsure=not read), read

    def _refusal(self, answer: requests.Response, path: str, needs: str, read: bool) -> GrafanaError:
        status = answer.status_code
        if 300 <= status < 400:
            return self._redirected(answer, path)
        try:
            body = json.loads(self._auth.hide(answer.text))
        except ValueError:
            body = None
        body = body if isinstance(body, dict) else {}
        text, reason = str(body.get("message") or "")[:300], str(body.get("status") or body.get("reason") or "")
        what = f"Grafana at {self.host} answered {status}" + (f": {text}" if text else "")
        unsure = not read and status in _PASSING and status not in _NOT_DONE
        step = next_step(status, needs, text)
        cause = None if "message" in body else causes.of_foreign_refusal(status, answer.text, self.base)
        if cause:
            what, step = f"Grafana at {self.host} {cause.what}", cause.step
        return GrafanaError(what, step, status, reason, unsure, general=status in (401, 407))

    def _redirected(self, answer: requests.Response, path: str) -> GrafanaError:
        location = answer.headers.get("Location", "")
        place = self._auth.hide(without_secrets(location))
        what = f"{self.host} redirects to {place}, and the token is not sent there"
        if right := whereabouts.target_base(self.base, path, location):
            return GrafanaError(what, f"set GRAFANA_URL={self._auth.hide(right)}", answer.status_code, general=True)
        step = "look what redirects there, and set GRAFANA_URL to Grafana's own address"
        if whereabouts.is_login(location):
            pass_on = "let requests to /api and /apis pass what asks for a login there"
            step = f"{pass_on}, or set GRAFANA_URL to Grafana's own address"
        right = whereabouts.find(self.base, self._look)
        if right not in (None, self.base):
            step = f"set GRAFANA_URL={right}, where Grafana answers"
        return GrafanaError(what, step, answer.status_code, general=True)

    def _general(self, cause: causes.Cause) -> GrafanaError:
        return GrafanaError(f"Grafana at {self.host} {cause.what}", cause.step, general=True)

    def _json(self, answer: requests.Response) -> JsonValue:
        try:
            document: JsonValue = json.loads(self._auth.hide(answer.text))
            return document
        except ValueError:
            pass
        raise self.foreign()
