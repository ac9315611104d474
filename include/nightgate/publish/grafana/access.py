"""The address and the token, checked before anything is sent, and kept out of every message."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from nightgate.errors import InputError

if TYPE_CHECKING:
    import requests


_HOST = re.compile(r"[\w.-]+|[0-9a-fA-F:.]+(%[\w.]+)?")  # a name or an address


class Bearer:
    """Sets the header itself, as requests would otherwise put ``~/.netrc`` in its place.

    Raises:
        InputError: the text cannot be a token; it is not quoted.
    """

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


def checked_url(url: str) -> str:
    """Without a slash at the end, and without a user and password, which must not reach a message.

    Raises:
        InputError: it is no http or https address, or it has a part that would be ignored.
    """
    try:
        parts = urlsplit(url.strip())
        host = parts.hostname or ""
        good = parts.scheme in ("http", "https") and _HOST.fullmatch(host) and (parts.port is None or parts.port > 0)
    except ValueError:
        good = False
    if not good:
        raise InputError("GRAFANA_URL is not an http or https address", "write for example https://grafana.example.org")
    if parts.query or parts.fragment:
        raise InputError(
            "GRAFANA_URL has a '?' or '#', and nothing after it would be used", "write only what is before it"
        )
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))


def without_secrets(location: str) -> str:
    """The target of a redirect as a message may show it: no user, no port, no query."""
    target = urlsplit(location)
    return urlunsplit((target.scheme, target.hostname or "", target.path, "", ""))
