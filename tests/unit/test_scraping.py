"""Who may read /metrics, as a table of what a request says of itself."""

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.requests import Request

from nightgate.publish import prometheus
from nightgate.results.store import Snapshot
from nightgate.web import app as web
from nightgate.web import scraping


@pytest.fixture(autouse=True)
def no_token(monkeypatch):
    monkeypatch.delenv("NIGHTGATE_METRICS_TOKEN", raising=False)


def request(peer="127.0.0.1", host="localhost:8080", *more, version="1.1"):
    hosts = [host] if isinstance(host, str) else host
    headers = [*(("host", each) for each in hosts), *more]
    return Request(
        {
            "type": "http",
            "http_version": version,
            "client": (peer, 5) if peer else None,
            "headers": [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers],
        }
    )


@pytest.mark.parametrize(
    ("peer", "may"),
    [
        ("127.0.0.1", True),
        ("127.8.9.10", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("::ffff:7f00:1", True),
        ("10.0.0.9", False),
        ("::ffff:10.0.0.9", False),
        ("::2", False),
        ("fe80::1", False),
        ("128.0.0.1", False),
        ("0.0.0.0", False),
        ("::", False),
        ("localhost", False),
        ("testclient", False),
        ("", False),
        (None, False),
    ],
)
def test_the_peer_must_be_this_host(peer, may):
    assert scraping.may_scrape(request(peer)) is may


@pytest.mark.parametrize(
    ("host", "may"),
    [
        ("localhost", True),
        ("localhost:8080", True),
        ("LocalHost:1", True),
        ("localhost.", True),
        ("localhost.:80", True),
        ("127.0.0.1", True),
        ("127.0.0.1:65535", True),
        ("127.255.255.254:80", True),
        ("[::1]", True),
        ("[::1]:8080", True),
        ("[0:0:0:0:0:0:0:1]", True),
        ("[::ffff:127.0.0.1]:80", True),
        ("[::FFFF:127.0.0.1]", True),
        ("board.example.org", False),
        ("localhost.example.org", False),
        ("example.localhost", False),
        ("localhost..", False),
        ("127.0.0.1.nip.io", False),
        ("127.0.0.1.", False),
        ("127.1", False),
        ("127.0.0.01", False),
        ("2130706433", False),
        ("0x7f.0.0.1", False),
        ("0.0.0.0", False),
        ("128.0.0.1", False),
        ("126.255.255.255", False),
        ("10.0.0.9:8080", False),
        ("::1", False),
        ("[::1", False),
        ("::1]", False),
        ("[::2]", False),
        ("[::ffff:10.0.0.9]", False),
        ("[localhost]", False),
        ("[127.0.0.1]", False),
        ("[::1]x", False),
        ("localhost:", False),
        ("localhost:65536", False),
        ("localhost:80:80", False),
        ("localhost:x", False),
        ("localhost:-1", False),
        ("user@localhost", False),
        ("localhost/x", False),
        ("localhost, evil.org", False),
        ("localhost evil.org", False),
        ("", False),
        (" ", False),
        ("evil.org:localhost", False),
        (["localhost", "localhost"], False),
        (["localhost", "evil.org"], False),
        (["evil.org", "localhost"], False),
        ([], False),
    ],
)
def test_the_name_that_was_asked_for_must_be_this_host(host, may):
    assert scraping.may_scrape(request("127.0.0.1", host)) is may


@pytest.mark.parametrize(
    "name",
    [
        "Forwarded",
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "X-Forwarded-Proto",
        "X-Forwarded-Port",
        "X-Forwarded-Prefix",
        "X-Forwarded-Server",
        "X-Forwarded-Client-Cert",
        "X-Forwarded",
        "x_forwarded_for",
        "X-FORWARDED-FOR",
        "X-Real-IP",
        "X_Real_Ip",
        "Via",
        "VIA",
        "X-Client-IP",
        "Client-IP",
        "CF-Connecting-IP",
        "CF-Ray",
        "CF-Visitor",
        "True-Client-IP",
        "X-Cluster-Client-IP",
        "X-Original-For",
        "X-Original-URL",
        "X-Original-Forwarded-For",
        "X-Envoy-External-Address",
        "Fastly-Client-IP",
        "Fly-Client-IP",
        "X-Azure-ClientIP",
        "X-Amzn-Trace-Id",
        "X-Amz-Cf-Id",
        "CloudFront-Viewer-Address",
        "X-ProxyUser-IP",
        "X-AppEngine-User-IP",
        "Proxy-Client-IP",
        "WL-Proxy-Client-IP",
        "CDN-Loop",
        "X-Remote-IP",
        "X-Remote-Addr",
        "X-Originating-IP",
        "X-Host",
        "X-Scheme",
        "Max-Forwards",
        "Forwarded-For",
        "X-Forward-For",
        "X-Auth-Request-User",
        "Akamai-Origin-Hop",
        "X-ARR-LOG-ID",
        "Proxy-Authorization",
        "Front-End-Https",
        "Remote-User",
        "X-Varnish",
        "X-Request-Start",
        "Tailscale-User-Login",
        "X-HAProxy-Server-State",
        "X-Traefik-Router",
        "X-Nginx-Proxy",
        "X-Akamai-Edgescape",
        "X-Vercel-Id",
        "X-Sucuri-ClientIP",
        "X-Goog-IAP-JWT-Assertion",
        "Incap-Client-IP",
        "X-Real-Host",
        "X-Remote-User",
        "X-Url-Scheme",
        "X-Coming-From",
        "X-Sendfile-Type",
        "X-ARR-SSL",
        "X-BlueCoat-Via",
        "X-Cloud-Trace-Context",
        "X-Script-Name",
        "X-Rewrite-URL",
        "X-Proxy-User",
    ],
)
def test_what_a_proxy_adds_closes_it(name):
    assert scraping.may_scrape(request("127.0.0.1", "127.0.0.1:8080", (name, ""))) is False


@pytest.mark.parametrize(
    "name",
    [
        "Accept",
        "Accept-Encoding",
        "User-Agent",
        "X-Prometheus-Scrape-Timeout-Seconds",
        "Connection",
        "Cookie",
        "Origin",
        "Authorization",
        "X-Request-Id",
        "Traceparent",
        "Forward",
        "Viacom",
        "X-Requested-With",
    ],
)
def test_what_a_client_on_this_host_sends_does_not_close_it(name):
    assert scraping.may_scrape(request("127.0.0.1", "127.0.0.1:8080", (name, "x"))) is True


@pytest.mark.parametrize(("version", "may"), [("1.0", False), ("1.1", True), ("2", True)])
def test_a_proxy_as_nginx_is_installed_does_not_open_it(version, may):
    assert scraping.may_scrape(request("127.0.0.1", "127.0.0.1:8080", version=version)) is may


@pytest.mark.parametrize(
    ("token", "sent", "may"),
    [
        ("s3cret", ["Bearer s3cret"], True),
        ("s3cret", ["bearer s3cret"], True),
        ("s3cret", ["BEARER  s3cret "], True),
        (" s3cret\n", ["Bearer s3cret"], True),
        ("gehöre", ["Bearer geh\xc3\xb6re"], True),
        ("s3cret", ["Bearer wrong"], False),
        ("s3cret", ["s3cret"], False),
        ("s3cret", ["Basic s3cret"], False),
        ("s3cret", ["Bearer "], False),
        ("s3cret", ["Bearer"], False),
        ("s3cret", [], False),
        ("s3cret", ["Bearer s3cre"], False),
        ("s3cret", ["Bearer s3crett"], False),
        ("s3cret", ["Bearer s3cret", "Bearer s3cret"], False),
        ("s3cret", ["Basic x", "Bearer s3cret"], False),
        ("gehöre", ["Bearer geh\xf6re"], False),
        ("", ["Bearer "], False),
        ("", ["Bearer"], False),
        ("", [], False),
        ("  ", ["Bearer   "], False),
        (None, ["Bearer "], False),
        (None, ["Bearer None"], False),
    ],
)
@pytest.mark.parametrize(
    "from_where",
    [
        ("10.0.0.9", "board.example.org"),
        ("127.0.0.1", "board.example.org"),
        ("127.0.0.1", "localhost", ("Via", "1.1 x")),
    ],
)
def test_others_need_the_token(monkeypatch, from_where, token, sent, may):
    if token is not None:
        monkeypatch.setenv("NIGHTGATE_METRICS_TOKEN", token)
    assert scraping.may_scrape(request(*from_where, *(("Authorization", each) for each in sent))) is may


def answer(monkeypatch, peer, base, **headers):
    class Empty:
        def __init__(self, url):
            assert url == "postgresql://store"

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def snapshot(self):
            return Snapshot()

        def caches(self):
            return []

    monkeypatch.setattr(web, "Store", Empty)
    monkeypatch.setattr(prometheus, "render", lambda *_, **__: (b"page", "text/plain"))
    app = FastAPI()
    app.mount("/nightgate", web.create_app(lambda: "postgresql://store"))
    return TestClient(app, base, client=(peer, 5)).get("/nightgate/metrics", headers=headers)


def test_the_app_asks_before_it_answers(monkeypatch):
    assert answer(monkeypatch, "127.0.0.1", "http://localhost:8080").text == "page"
    assert answer(monkeypatch, "::1", "http://[::1]:8080").status_code == 200
    for refused in (
        answer(monkeypatch, "10.0.0.9", "http://localhost:8080"),
        answer(monkeypatch, "127.0.0.1", "http://board.example.org"),
        answer(monkeypatch, "127.0.0.1", "http://localhost:8080", **{"X-Forwarded-Proto": "https"}),
    ):
        assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, "Bearer")
        assert refused.json()["detail"] == (
            "NIGHTGATE_METRICS_TOKEN is not set on this server: set it there, then send it as a bearer token"
        )
    monkeypatch.setenv("NIGHTGATE_METRICS_TOKEN", "s3cret")
    refused = answer(monkeypatch, "10.0.0.9", "http://localhost:8080")
    assert refused.json()["detail"] == "send the token of NIGHTGATE_METRICS_TOKEN"
    allowed = answer(monkeypatch, "10.0.0.9", "http://board.example.org", Authorization="Bearer s3cret")
    assert allowed.status_code == 200
