"""Advice follows the cause that was seen: TLS, names, ports, proxies, redirects and pages that are not Grafana's."""

import socket
import ssl

import pytest
import requests
import urllib3
from contract.grafana_server import TOKEN, Fault

from nightgate.publish.grafana import Client, GrafanaError, causes, whereabouts

BASE = "https://grafana.example.org:3000/sub"
PROXY = "let requests to /api and /apis pass what is before Grafana, or set GRAFANA_URL to Grafana's own address"


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)


def asked(server, url=None, what=lambda client: client.listed("/api/folders")):
    with Client(url or server.url, TOKEN, sleep=lambda _: None) as client, pytest.raises(GrafanaError) as caught:
        what(client)
    assert TOKEN not in str(caught.value)
    return caught.value


def wrapped(inner):
    """As requests hands on what ssl raised."""
    reason = urllib3.exceptions.SSLError(inner)
    return requests.exceptions.SSLError(urllib3.exceptions.MaxRetryError(None, "/", reason))


def unverified(code):
    inner = ssl.SSLCertVerificationError("certificate verify failed")
    inner.verify_code = code
    return wrapped(inner)


@pytest.mark.parametrize(
    ("code", "what", "step"),
    [
        (9, "has a certificate that is not valid yet", "set the clock of this host, or renew the certificate"),
        (10, "has a certificate that has expired", "renew the certificate of that server"),
        (62, "has a certificate for another name", "write GRAFANA_URL with the name in its certificate"),
        (64, "has a certificate for another address", "write GRAFANA_URL with the name in its certificate"),
        *(
            (
                code,
                "cannot be asked: the certificate of grafana.example.org:3000 is not trusted",
                "set REQUESTS_CA_BUNDLE to the file of its certificate authority",
            )
            for code in (18, 19, 20)
        ),
    ],
)
def test_what_is_wrong_with_a_certificate(code, what, step):
    assert causes.of_tls(unverified(code), BASE) == (what, step)


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_a_bundle_that_is_set_is_to_be_added_to(monkeypatch, name):
    monkeypatch.setenv(name, "/a/bundle.pem")
    step = f"add its certificate authority to the file that {name} names"
    assert causes.of_tls(unverified(20), BASE).step == step


@pytest.mark.parametrize(
    ("reason", "cause"),
    [
        *(
            (reason, ("does not speak https", "set GRAFANA_URL=http://grafana.example.org:3000/sub, if it has no TLS"))
            for reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "packet length too long")
        ),
        (
            "NO_PROTOCOLS_AVAILABLE",
            ("refuses a TLS connection (NO_PROTOCOLS_AVAILABLE)", "look at the TLS settings of that server"),
        ),
        (None, ("refuses a TLS connection (NO_REASON_GIVEN)", "look at the TLS settings of that server")),
    ],
)
def test_a_handshake_that_fails_otherwise(reason, cause):
    inner = ssl.SSLError(1, "no")
    inner.reason = reason
    assert causes.of_tls(wrapped(inner), BASE) == cause


def test_a_tls_error_without_an_inner_one_is_told_too():
    assert causes.of_tls(requests.exceptions.SSLError("no"), BASE).what == "refuses a TLS connection (NO_REASON_GIVEN)"


def test_https_where_only_http_is_spoken(server):
    error = asked(server, server.url.replace("http:", "https:"))
    assert error.what == f"Grafana at 127.0.0.1:{server.server_port} does not speak https"
    assert error.next_step == f"set GRAFANA_URL={server.url}, if it has no TLS"
    assert error.general
    assert not error.unsure


def unsent(reason):
    return requests.exceptions.ConnectionError(urllib3.exceptions.MaxRetryError(None, "/", reason))


def refused(cause):
    made = urllib3.exceptions.NewConnectionError(None, "no connection")
    made.__cause__ = cause
    return unsent(made)


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (
            unsent(urllib3.exceptions.NameResolutionError("h", None, socket.gaierror())),
            (
                "cannot be reached: the name grafana.example.org has no address",
                "check the name in GRAFANA_URL, and the name service of this host",
            ),
        ),
        (
            requests.exceptions.ConnectTimeout(urllib3.exceptions.ConnectTimeoutError()),
            (
                "cannot be reached: no connection within some seconds",
                "check the address in GRAFANA_URL, and whether a firewall is between",
            ),
        ),
        (
            refused(TimeoutError()),
            (
                "cannot be reached: no connection within some seconds",
                "check the address in GRAFANA_URL, and whether a firewall is between",
            ),
        ),
        (
            refused(ConnectionRefusedError()),
            ("cannot be reached: nobody listens there", "check the port in GRAFANA_URL and that Grafana runs"),
        ),
        (refused(OSError(113, "no route")), ("cannot be reached", "check GRAFANA_URL and that it runs")),
        (
            requests.exceptions.ProxyError(urllib3.exceptions.MaxRetryError(None, "/", ConnectionRefusedError())),
            (
                "cannot be reached through the proxy of HTTPS_PROXY",
                "mend the variable HTTPS_PROXY, or name grafana.example.org in NO_PROXY",
            ),
        ),
    ],
)
def test_why_there_was_no_connection(error, cause):
    assert causes.of_no_connection(error, BASE) == cause


def test_nobody_listens(server):
    server.shutdown()
    server.server_close()
    error = asked(server)
    assert error.what == f"Grafana at 127.0.0.1:{server.server_port} cannot be reached: nobody listens there"
    assert error.general


def test_a_name_without_an_address(server, monkeypatch):
    def unknown(*_, **__):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert asked(server, "http://grafana.test").what.endswith("the name grafana.test has no address")


@pytest.mark.parametrize("value", ["http://", "socks5://127.0.0.1:9"])
def test_a_proxy_of_the_environment_that_is_no_address(server, monkeypatch, value):
    monkeypatch.setenv("HTTP_PROXY", value)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    error = asked(server, "http://grafana.test")
    assert "proxy" in error.what
    assert "HTTP_PROXY" in error.next_step
    assert error.general


def test_a_bundle_that_is_not_there(server, monkeypatch, tmp_path):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "none.pem"))
    error = asked(server, "https://127.0.0.1:9")
    assert error.what == "Grafana at 127.0.0.1:9 cannot be asked: REQUESTS_CA_BUNDLE names a file that is not there"
    assert error.next_step == "mend REQUESTS_CA_BUNDLE"


def test_other_errors_are_no_matter_of_the_environment(monkeypatch, tmp_path):
    assert causes.of_settings(OSError("no")) is None
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "none.pem"))
    assert causes.of_settings(requests.exceptions.ConnectionError("no")) is None
    assert causes.of_settings(ValueError("no")) is None
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path))
    assert causes.of_settings(OSError("no")) is None


def test_each_error_of_a_chain_comes_once():
    inner, outer = ValueError("a"), OSError("b", ValueError("c"))
    outer.__cause__, outer.__context__, inner.__context__ = inner, inner, outer
    assert [str(each) for each in causes.chain(outer)][1:] == ["c", "a"]


HTML = "<html>a page</html>"


@pytest.mark.parametrize(
    ("status", "body", "what", "step", "general"),
    [
        (401, HTML, "is behind something that asks for a login of its own (401)", PROXY, True),
        (407, HTML, "is behind something that asks for a login of its own (407)", PROXY, True),
        (403, HTML, "is behind something that refuses the request (403)", PROXY, False),
        (502, HTML, "answered 502", "see whether Grafana runs behind the proxy that answers there", False),
        (503, "", "answered 503", "see whether Grafana runs behind the proxy that answers there", False),
        (504, {}, "answered 504", "see whether Grafana runs behind the proxy that answers there", False),
        (500, HTML, "answered 500", "look at Grafana's log, then upload again", False),
        (
            400,
            "<h1>The plain HTTP request was sent to HTTPS port</h1>",
            "speaks https only",
            "set GRAFANA_URL=https",
            False,
        ),
        (400, HTML, "answered 400", "mend what Grafana names in GRAFANA_FOLDER", False),
        (413, HTML, "answered 413", "the dashboard is larger than Grafana or its proxy accepts", False),
        (401, {"message": "Invalid API key"}, "answered 401: Invalid API key", "GRAFANA_TOKEN is not accepted", True),
        (
            403,
            {"message": "no"},
            "answered 403: no",
            "give the service account the role Editor, or the permission folders:read",
            False,
        ),
        (
            403,
            {"message": "Namespace mismatch"},
            "answered 403: Namespace mismatch",
            "make the token in Grafana's first organization: /apis is used in no other",
            False,
        ),
        (502, {"message": "m"}, "answered 502: m", "look at Grafana's log, then upload again", False),
    ],
)
def test_a_refusal_of_something_before_grafana(server, status, body, what, step, general):
    server.faults += [Fault(status=status, body=body)] * 5
    error = asked(server, what=lambda client: client.listed("/api/folders", "folders:read"))
    assert error.what.removeprefix(f"Grafana at 127.0.0.1:{server.server_port} ") == what
    assert error.next_step.startswith(step)
    assert (error.status, error.general) == (status, general)


def test_the_address_with_the_other_scheme_is_written_out():
    text = "Client sent an HTTP request to an HTTPS server."
    assert causes.of_foreign_refusal(400, text, "http://h:3000/s").step == "set GRAFANA_URL=https://h:3000/s"
    assert causes.of_foreign_refusal(400, text, "https://h:3000/s") is None


@pytest.mark.parametrize("status", [301, 302, 307, 308])
@pytest.mark.parametrize(
    ("location", "right"),
    [
        ("https://grafana.example.org/api/folders", "https://grafana.example.org"),
        ("https://u:p@grafana.example.org:8443/sub/api/folders/?x=1", "https://grafana.example.org:8443/sub"),
        ("/grafana/api/folders", "{url}/grafana"),
    ],
)
def test_a_redirect_to_where_grafana_is_names_that_address(server, status, location, right):
    server.faults.append(Fault(status=status, headers={"Location": location}))
    error = asked(server)
    assert error.next_step == f"set GRAFANA_URL={right.format(url=server.url)}"
    assert "u:p" not in str(error)
    assert (error.status, error.general, len(server.requests)) == (status, True, 1)


@pytest.mark.parametrize("location", ["https://sso.example.org/oauth2/authorize", "/login", "/Auth/x"])
def test_a_redirect_to_a_login_is_no_final_address(server, location):
    server.faults += [Fault(status=302, headers={"Location": location})] * 9
    error = asked(server)
    assert error.next_step.startswith("let requests to /api and /apis pass what asks for a login there")
    assert error.general


def test_a_redirect_to_somewhere_else_is_looked_into(server):
    server.prefix = "/grafana"
    root = server.url.removesuffix("/grafana")
    elsewhere = {"Location": "https://example.org/welcome"}
    server.faults.append(Fault(status=302, headers=elsewhere))
    assert asked(server, root).next_step == f"set GRAFANA_URL={server.url}, where Grafana answers"
    server.faults.append(Fault(status=302, headers=elsewhere))
    assert asked(server).next_step == "look what redirects there, and set GRAFANA_URL to Grafana's own address"


def test_a_page_in_the_place_of_grafana_and_a_page_of_its_proxy(server):
    server.prefix = "/grafana"
    server.faults.append(Fault(status=200, body=HTML))
    error = asked(server, server.url.removesuffix("/grafana"))
    assert error.what.endswith(f"is not Grafana's API; Grafana answers at {server.url}")
    assert (error.next_step, error.general) == (f"set GRAFANA_URL={server.url}", True)
    server.faults.append(Fault(status=200, body=HTML))
    error = asked(server)
    assert error.what == f"what answers at {server.url} is not Grafana's API"
    assert error.next_step.startswith("look what answers in its place")
    assert not error.general


def test_the_health_that_redirects_tells_where_it_is(server):
    server.faults += [
        Fault(status=404),
        Fault(status=301, headers={"Location": "https://grafana.example.org/g/api/health"}),
    ]
    error = asked(server, what=lambda client: (_ for _ in ()).throw(client.mislaid(GrafanaError("it", "s", 404))))
    assert error.next_step == "set GRAFANA_URL=https://grafana.example.org/g"
    assert (error.what, error.status) == ("it; Grafana answers at https://grafana.example.org/g", 404)


@pytest.mark.parametrize("body", [HTML, "[]", "3", {"version": "12"}])
def test_only_the_health_of_grafana_is_taken_for_it(server, body):
    server.faults += [Fault(status=200, body=body)] * 9
    with Client(server.url, TOKEN, sleep=lambda _: None) as client:
        assert client._look(server.url) is None
        server.faults.clear()
        assert client._look(server.url) == server.url
    assert all("Authorization" not in request.headers for request in server.requests)


def test_nothing_is_looked_for_past_the_deadline(server):
    with Client(server.url, TOKEN, deadline=0) as client:
        assert client._look(server.url) is None
    assert server.requests == []


def test_where_grafana_is_looked_for():
    assert list(whereabouts.candidates("http://h:3000/a/b")) == [
        "http://h:3000/a/b",
        "http://h:3000/a",
        "http://h:3000",
        "http://h:3000/grafana",
        "https://h:3000/a/b",
        "https://h:3000/a",
        "https://h:3000",
        "https://h:3000/grafana",
    ]
    assert list(whereabouts.candidates("https://h/grafana")) == [
        "https://h/grafana",
        "https://h",
        "http://h/grafana",
        "http://h",
    ]
    assert whereabouts.find("http://h/a", lambda base: base if base == "http://h" else None) == "http://h"
    assert whereabouts.find("http://h/a", lambda base: None) is None


@pytest.mark.parametrize(
    ("location", "base"),
    [
        ("/api/health", "http://h"),
        ("/x/api/health/", "http://h/x"),
        ("//o/api/health", "http://o"),
        ("https://h/api/health#f", "https://h"),
        ("/login", None),
        ("", None),
        ("ftp://h/api/health", None),
        ("/s/api/health/", None),
        ("/api/healthy", None),
    ],
)
def test_the_address_that_a_redirect_means(location, base):
    assert whereabouts.target_base("http://h/s", "/api/health", location) == base


@pytest.mark.parametrize(
    ("location", "login"),
    [
        *(
            (f"/a/{name}/b", True)
            for name in ("login", "signin", "sign-in", "sign_in", "oauth", "oauth2", "saml", "sso", "authorize", "auth")
        ),
        ("https://x/a/SSO?b", True),
        ("/api/health", False),
        ("https://login.example.org/", False),
        ("/logins", False),
    ],
)
def test_which_redirect_is_a_login(location, login):
    assert whereabouts.is_login(location) is login
