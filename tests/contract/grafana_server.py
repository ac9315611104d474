"""A server that answers as Grafana does, for the requests Nightgate makes, over real sockets.

It keeps folders, dashboards with their history, and annotations; it checks the token and its permissions, and refuses
what Grafana refuses with the same status. `faults` holds what happens to the next requests instead.
"""

from __future__ import annotations

import json
import socket
import ssl
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from contract import grafana_apps, grafana_legacy
from contract.grafana_model import Board, Refused, Request

TOKEN = "glsa_contract0123456789"
EDITOR = frozenset(
    {
        "dashboards:read",
        "dashboards:write",
        "dashboards:create",
        "folders:read",
        "folders:create",
        "annotations:read",
        "annotations:create",
    }
)


@dataclass
class Fault:
    """What happens to a request instead of its answer, or after it.

    ``how`` is "answer" (with ``status``, ``headers`` and ``body``), "drop" (a reset without an answer), "half" (the
    connection closes in the middle of the answer), "stall" (nothing for ``seconds``), or "trickle" (a byte each
    0.05 s). With ``done`` the request is carried out all the same. It meets only requests that ``matches`` accepts.
    """

    how: str = "answer"
    status: int = 503
    body: Any = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    done: bool = False
    matches: Callable[[Request], bool] = lambda request: True
    over: threading.Event = field(default_factory=threading.Event)
    """Set when the server is through with it."""


class GrafanaServer(ThreadingHTTPServer):
    """The state of one Grafana. ``prefix`` is its sub-path; ``legacy`` and ``apps`` tell which of its APIs it has."""

    daemon_threads = True

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.scheme = "https" if context else "http"
        if context:
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.token, self.permissions, self.prefix = TOKEN, set(EDITOR), ""
        self.legacy = self.apps = self.annotations_api = self.readable_permissions = True
        self.folders: dict[str, str] = {}
        self.boards: dict[str, Board] = {}
        self.annotations: list[dict[str, Any]] = []
        self.requests: list[Request] = []
        self.faults: deque[Fault] = deque()
        self.max_body = 1_000_000
        self.lock = threading.RLock()

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.server_port}{self.prefix}"

    @property
    def writes(self) -> list[Request]:
        return [request for request in self.requests if request.writes]

    def handle_error(self, *_: object) -> None:
        """A client that went away is part of the tests."""

    def need(self, permission: str) -> None:
        if permission not in self.permissions:
            raise Refused(
                403, f"You'll need additional permissions to perform this action. Permissions needed: {permission}"
            )

    def answer(self, request: Request) -> tuple[int, Any]:
        """Carry out one request; returns status and body, or raises Refused."""
        if not request.path.startswith(self.prefix):
            raise Refused(404, "Not found")
        path = request.path.removeprefix(self.prefix)
        if path == "/api/health":
            return 200, {"commit": "0", "database": "ok", "version": "12.4.0"}
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            raise Refused(401, "Invalid API key")
        if path == "/api/access-control/user/permissions" and self.readable_permissions:
            return 200, {permission: ["*"] for permission in self.permissions}
        parts = [unquote(part) for part in path.strip("/").split("/")]
        with self.lock:
            for there, api in ((self.legacy, grafana_legacy), (self.apps, grafana_apps)):
                if there and (found := api.answer(self, request, parts)):
                    return found
            if self.annotations_api and parts == ["api", "annotations"]:
                return grafana_legacy.annotations(self, request)
        raise Refused(404, "Not found")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: GrafanaServer

    def _serve(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        raw = self.rfile.read(length)
        parts = urlsplit(self.path)
        request = Request(
            self.command, parts.path, parse_qs(parts.query), dict(self.headers), json.loads(raw) if raw else None
        )
        with self.server.lock:
            self.server.requests.append(request)
            fault = next((fault for fault in self.server.faults if fault.matches(request)), None)
            if fault:
                self.server.faults.remove(fault)
        if fault is None or fault.done:
            status, headers, body = self._carry_out(request, length)
        if fault is None:
            self._reply(status, headers, body)
        elif fault.how == "answer":
            self._reply(fault.status, fault.headers, fault.body)
        else:
            self._break(fault)
        if fault:
            fault.over.set()

    do_GET = do_POST = do_PUT = _serve

    def _carry_out(self, request: Request, length: int) -> tuple[int, dict[str, str], Any]:
        try:
            if length > self.server.max_body:
                raise Refused(413, "request body too large")
            status, body = self.server.answer(request)
            return status, {}, body
        except Refused as refusal:
            return refusal.status, refusal.headers, refusal.body

    def _reply(self, status: int, headers: dict[str, str], body: Any) -> None:
        payload = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(payload))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(payload)

    def _break(self, fault: Fault) -> None:
        self.close_connection = True
        if fault.how == "drop":
            # a linger of zero makes close() send a reset
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        elif fault.how == "half":
            self.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{"uid": ')
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_WR)
        elif fault.how == "stall":
            time.sleep(fault.seconds)
        elif fault.how == "trickle":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
            end = time.monotonic() + fault.seconds
            while time.monotonic() < end:
                self.wfile.write(b" ")
                self.wfile.flush()
                time.sleep(0.05)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def running(context: ssl.SSLContext | None = None) -> Iterator[GrafanaServer]:
    """A server on a free port of this host; ``context`` makes it speak TLS."""
    server = GrafanaServer(context)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
