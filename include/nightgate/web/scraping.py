"""Who may read /metrics: this host itself, or who sends the token.

A proxy on this host makes every visitor look like this host, so three things must say that it is one: the peer, the
name that was asked for, and the absence of what proxies add.
"""

from __future__ import annotations

import hmac
import ipaddress
import os
import re

from fastapi import Request

TOKEN = "NIGHTGATE_METRICS_TOKEN"

_HOST = re.compile(r"(?:\[(?P<v6>[0-9a-f:.]+)\]|(?P<name>[a-z0-9.-]+))(?::(?P<port>\d{1,5}))?", re.I)
_LOCAL_NAMES = ("localhost", "localhost.")
_ADDED = (
    "forwarded",
    "forwarded-for",
    "via",
    "x-real-ip",
    "x-client-ip",
    "client-ip",
    "x-cluster-client-ip",
    "x-real-host",
    "true-client-ip",
    "x-remote-ip",
    "x-remote-addr",
    "x-remote-user",
    "remote-user",
    "x-originating-ip",
    "x-host",
    "x-scheme",
    "x-url-scheme",
    "x-coming-from",
    "x-proxyuser-ip",
    "x-appengine-user-ip",
    "x-sendfile-type",
    "cdn-loop",
    "front-end-https",
    "max-forwards",
    "x-arr-ssl",
    "x-arr-log-id",
    "x-bluecoat-via",
    "x-varnish",
    "x-request-start",
    "x-cloud-trace-context",
    "x-script-name",
    "x-rewrite-url",
)
_ADDED_BEGINNINGS = (
    "x-forwarded",
    "x-forward-",
    "x-original-",
    "x-envoy-",
    "x-amzn-",
    "x-amz-cf-",
    "x-azure-",
    "x-akamai-",
    "x-auth-request-",
    "x-proxy-",
    "x-traefik-",
    "x-haproxy-",
    "x-nginx-",
    "cf-",
    "cloudfront-",
    "fastly-",
    "fly-",
    "akamai-",
    "proxy-",
    "wl-proxy-",
    "x-vercel-",
    "x-sucuri-",
    "x-goog-",
    "incap-",
    "tailscale-",
)
"""Lower case, with "-" for "_": Nginx, Apache, HAProxy, Envoy, Traefik, Caddy, IIS and the large networks."""


def may_scrape(request: Request) -> bool:
    """Whether a request for /metrics is answered."""
    return _is_this_host(request) or _has_the_token(request)


def refusal() -> str:
    """What to tell who may not."""
    if not _expected():
        return f"{TOKEN} is not set on this server: set it there, then send it as a bearer token"
    return f"send the token of {TOKEN}"


def is_added_by_a_proxy(header: str) -> bool:
    """Whether a request header is one that proxies add and clients do not."""
    name = header.lower().replace("_", "-")
    return name in _ADDED or name.startswith(_ADDED_BEGINNINGS)


def is_local_name(host: str) -> bool:
    """Whether a Host header, with or without a port, names the host itself: localhost, 127.0.0.0/8 or [::1]."""
    match = _HOST.fullmatch(host)
    if not match or int(match["port"] or 0) > 65535:
        return False
    if address := match["v6"]:
        return ":" in address and _is_loopback(address)
    return match["name"].lower() in _LOCAL_NAMES or _is_loopback(match["name"])


def _is_this_host(request: Request) -> bool:
    # nginx, unless told otherwise, asks in HTTP 1.0 and writes the name it was given for the server, often 127.0.0.1
    if request.scope.get("http_version") == "1.0":
        return False
    hosts = request.headers.getlist("host")
    return (
        request.client is not None
        and _is_loopback(request.client.host)
        and len(hosts) == 1
        and is_local_name(hosts[0])
        and not any(is_added_by_a_proxy(name) for name in request.headers)
    )


def _has_the_token(request: Request) -> bool:
    given, expected = request.headers.getlist("authorization"), _expected()
    if not expected or len(given) != 1:
        return False
    scheme, _, token = given[0].partition(" ")
    # headers come decoded as latin-1, whatever was sent
    same = hmac.compare_digest(token.strip().encode("latin-1"), expected.encode())
    return same and scheme.lower() == "bearer"


def _expected() -> str:
    return os.environ.get(TOKEN, "").strip()


def _is_loopback(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback
