"""A mail server and a webhook on loopback, which keep what they are sent."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class _Mail(socketserver.StreamRequestHandler):
    """As much of SMTP (RFC 5321) as one client needs that speaks no extension."""

    def handle(self) -> None:
        self._say("220 here")
        while line := self.rfile.readline():
            word = line.split(b":")[0].strip().upper().split(b" ")[0]
            if word == b"QUIT":
                return self._say("221 bye")
            if word == b"DATA":
                self._say("354 go on")
                content = b""
                while (line := self.rfile.readline()) != b".\r\n":
                    content += line[1:] if line.startswith(b"..") else line
                self.server.got.append(message_from_bytes(content, policy=policy.default))
            self._say("250 fine")

    def _say(self, text: str) -> None:
        self.wfile.write(f"{text}\r\n".encode())


class _Hook(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append((self.path, self.headers.get("Authorization"), json.loads(body)))
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def mail_server() -> Iterator[tuple[int, list[EmailMessage]]]:
    """Its port, and the mails it gets."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Mail) as server:
        yield from _served(server)


@contextmanager
def webhook(status: int = 200) -> Iterator[tuple[int, list[tuple[str, str | None, dict[str, Any]]]]]:
    """Its port, and what is posted to it: path, authorisation, JSON."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Hook) as server:
        server.status = status
        yield from _served(server)


def _served(server: Any) -> Iterator[tuple[int, list[Any]]]:
    server.daemon_threads, server.got = True, []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server.server_address[1], server.got
    finally:
        server.shutdown()
        thread.join()
