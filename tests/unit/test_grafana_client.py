"""The connection: what is repeated, for how long, and that the token goes nowhere else."""

import datetime
import logging
import ssl
import time

import pytest
from contract import grafana_server
from contract.grafana_server import TOKEN, Fault

from nightgate.errors import InputError
from nightgate.publish.grafana import Client, GrafanaError
from nightgate.publish.grafana.errors import NEXT_STEP

FOLDERS = "/api/folders"


class Waits(list):
    """In the place of ``sleep``."""

    def __call__(self, seconds):
        self.append(seconds)


def connect(server, **more):
    return Client(more.pop("url", server.url), more.pop("token", TOKEN), **{"sleep": Waits(), **more})


def make_folder(client):
    return client.write("POST", FOLDERS, {"uid": "f", "title": "F"}, "folders:create")


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 412, 413, 422, 500])
def test_a_refusal_says_what_to_do_and_is_not_repeated(server, status):
    server.faults.append(Fault(status=status, body={"message": f"the reason, and {TOKEN}"}))
    with pytest.raises(GrafanaError, match=f"answered {status}: the reason.*Next step: ") as caught:
        make_folder(connect(server))
    assert caught.value.status == status
    assert status == 500 or caught.value.next_step.startswith(NEXT_STEP[status])
    assert len(server.requests) == 1
    assert TOKEN not in f"{caught.value} {caught.value!r}"


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_read_that_passing_trouble_met_is_repeated(server, status):
    server.faults += [Fault(status=status, body="busy"), Fault(status=status)]
    client = connect(server)
    assert client.listed(FOLDERS) == []
    assert len(client._sleep) == 2
    assert all(0 <= wait <= 8 for wait in client._sleep)


@pytest.mark.parametrize("how", ["drop", "half"])
def test_a_read_whose_answer_was_lost_is_repeated(server, how):
    server.faults += [Fault(how), Fault(how)]
    assert connect(server).listed(FOLDERS) == []
    assert len(server.requests) == 3


@pytest.mark.parametrize("status", [429, 503])
def test_a_write_that_was_not_done_is_repeated(server, status):
    server.faults.append(Fault(status=status))
    make_folder(connect(server))
    assert server.folders == {"f": "F"}
    assert len(server.requests) == 2


@pytest.mark.parametrize("fault", [Fault("drop"), Fault("half"), Fault(status=502), Fault(status=504)])
def test_a_write_that_may_have_been_done_is_not_repeated_blindly(server, fault):
    fault.done = True
    server.faults.append(fault)
    with pytest.raises(GrafanaError) as caught:
        make_folder(connect(server))
    assert caught.value.unsure
    assert len(server.requests) == 1


def test_retry_after_is_honoured(server):
    later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=30)
    date = later.strftime("%a, %d %b %Y %H:%M:%S GMT")
    server.faults += [Fault(status=429, headers={"Retry-After": "7"}), Fault(status=503, headers={"Retry-After": date})]
    client = connect(server)
    client.listed(FOLDERS)
    assert client._sleep[0] == 7.0
    assert 20 < client._sleep[1] <= 30


def test_a_wait_past_the_deadline_is_not_begun(server):
    server.faults.append(Fault(status=429, headers={"Retry-After": "3600"}))
    client = connect(server)
    with pytest.raises(GrafanaError) as caught:
        client.listed(FOLDERS)
    assert caught.value.status == 429
    assert client._sleep == []
    assert len(server.requests) == 1


def test_tries_end(server):
    server.faults += [Fault(status=503)] * 9
    with pytest.raises(GrafanaError, match="503"):
        connect(server).listed(FOLDERS)
    assert len(server.requests) == 5


def test_nobody_there_is_tried_again_then_named(server):
    server.shutdown()
    server.server_close()
    client = connect(server)
    with pytest.raises(GrafanaError, match=r"127\.0\.0\.1:\d+ cannot be reached") as caught:
        make_folder(client)
    assert len(client._sleep) == 4
    assert not caught.value.unsure
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize("how", ["stall", "trickle"])
def test_one_deadline_bounds_a_server_that_never_ends_its_answer(server, how):
    fault = Fault(how, seconds=20)
    server.faults.append(fault)
    with pytest.raises(GrafanaError, match="did not answer in time"):
        connect(server, deadline=0.5).listed(FOLDERS)
    assert not fault.over.is_set(), "it waited for the server, not for its deadline"


def test_the_deadline_is_one_for_all_requests(server, monkeypatch):
    client = connect(server, deadline=60)
    client.listed(FOLDERS)
    later = time.monotonic() + 61
    monkeypatch.setattr(time, "monotonic", lambda: later)
    with pytest.raises(GrafanaError, match="in time"):
        client.listed(FOLDERS)
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_does_not_take_the_token_along(server, status):
    with grafana_server.running() as other:
        server.faults.append(Fault(status=status, headers={"Location": f"{other.url}/login?token={TOKEN}"}))
        with pytest.raises(GrafanaError, match="redirects to http://127.0.0.1/login,") as caught:
            make_folder(connect(server))
        assert other.requests == []
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize("page", ["<html>a login page</html>", "", "null", "[]"])
def test_something_else_that_takes_a_write_is_no_success(server, page):
    server.faults.append(Fault(status=200, body=page))
    with pytest.raises(GrafanaError, match="is not Grafana"):
        make_folder(connect(server))


@pytest.mark.parametrize("page", ["<html>a login page</html>", "", "null", "3", {}, [3]])
def test_something_else_that_answers_200_is_no_success(server, page):
    server.faults.append(Fault(status=200, body=page))
    with pytest.raises(GrafanaError, match="is not Grafana"):
        connect(server).listed(FOLDERS)


def test_a_netrc_does_not_replace_the_token(server, tmp_path, monkeypatch):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login someone password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    connect(server).listed(FOLDERS)
    assert server.requests[0].headers["Authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize("url", ["grafana:3000", "", "ftp://grafana", "http://", "http://h:99999x"])
def test_an_address_that_is_none_is_refused(url):
    with pytest.raises(InputError, match="GRAFANA_URL"):
        Client(url, TOKEN)


def test_a_password_in_the_address_reaches_no_message(server):
    client = connect(server, url=server.url.replace("//", "//admin:hunter2@"), token="another")
    with pytest.raises(GrafanaError, match="401") as caught:
        client.listed(FOLDERS)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("token", ["", "  ", "two words", "line\nbreak", "ümlaut"])
def test_a_token_that_cannot_be_one_is_refused_unquoted(server, token):
    with pytest.raises(InputError, match="GRAFANA_TOKEN") as caught:
        connect(server, token=token)
    assert not token.strip() or token not in str(caught.value)


def test_the_token_is_in_no_log_no_repr_no_result_and_no_chained_error(server, caplog):
    caplog.set_level(logging.DEBUG)
    server.faults += [
        Fault(status=503, body={"message": TOKEN}),
        Fault("drop"),
        Fault(status=200, body=[{"title": f"echo {TOKEN}"}]),
    ]
    client = connect(server)
    assert client.listed(FOLDERS) == [{"title": "echo ***"}]
    server.faults.append(Fault("drop"))
    with pytest.raises(GrafanaError) as caught:
        make_folder(client)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None, "an error of the network carries the request, and with it the token"
    assert TOKEN not in caplog.text
    assert TOKEN not in f"{client!r} {vars(client)!r}"


@pytest.fixture
def tls(tmp_path):
    """A certificate for 127.0.0.1 that nobody signed but itself: the server's context and the file."""
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "grafana")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (tmp_path / "key.pem").write_bytes(private)
    (tmp_path / "certificate.pem").write_bytes(certificate.public_bytes(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "certificate.pem", tmp_path / "key.pem")
    return context, tmp_path / "certificate.pem"


def test_a_certificate_that_nobody_vouches_for_gets_no_token(tls):
    with grafana_server.running(tls[0]) as server:
        client = connect(server)
        with pytest.raises(GrafanaError, match=r"certificate of 127.* is not trusted.*REQUESTS_CA_BUNDLE"):
            make_folder(client)
        assert client._sleep == []
        assert server.requests == []


def test_a_certificate_of_ones_own_authority_is_trusted(tls, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tls[1]))
    with grafana_server.running(tls[0]) as server:
        make_folder(connect(server))
        assert server.folders == {"f": "F"}
