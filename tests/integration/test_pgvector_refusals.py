"""A server that refuses is no absent one: each refusal fails with its own reason and a step that helps."""

from __future__ import annotations

import socket
import subprocess
import threading
from contextlib import contextmanager
from urllib.parse import urlsplit

import psycopg
import pytest
from support import pg_benchmark as benchmark
from support.pg_benchmark import session
from support.pgbouncer import pgbouncer
from support.programs import free_port, program

from nightgate import registry
from nightgate.artifacts import Cache
from nightgate.errors import InputError, ServiceUnavailable, Unavailable
from nightgate.pgvector_search import connecting
from nightgate.pgvector_search.settings import Settings
from nightgate.stack.postgres import Cluster

pytestmark = pytest.mark.slow

ONE = Settings(variants=("ivfflat",), rows=1000, dim=8, lists=5)


@pytest.fixture(scope="module")
def tcp(tmp_path_factory):
    """A server on 127.0.0.1 with a role that needs its password; no host name or user of another kind is let in."""
    port = str(free_port())
    cluster = Cluster(tmp_path_factory.mktemp("tcp"), {"listen_addresses": "127.0.0.1", "port": port})
    cluster.start()
    with psycopg.connect(cluster.url(), autocommit=True) as connection:
        connection.execute("CREATE ROLE keeper LOGIN PASSWORD 'geheim'")
        connection.execute("CREATE ROLE guest LOGIN PASSWORD 'geheim' CONNECTION LIMIT 0")
        connection.execute("CREATE ROLE barred PASSWORD 'geheim'")
        connection.execute("CREATE DATABASE closed ALLOW_CONNECTIONS false")
        connection.execute("CREATE DATABASE inner_one")
        connection.execute("REVOKE CONNECT ON DATABASE inner_one FROM PUBLIC")
        hba = "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
        (cluster.data / "pg_hba.conf").write_text(f"host all stranger 127.0.0.1/32 reject\n{hba}")
        connection.execute("SELECT pg_reload_conf()")
    yield port
    cluster.stop()


@pytest.fixture(scope="module")
def tls(tmp_path_factory, pgvector_cluster):
    """A pooler that speaks TLS by a certificate of its own for localhost: the wheel's server is built without."""
    folder = tmp_path_factory.mktemp("tls")
    for name in ("own", "other"):
        subprocess.run(
            [program("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
             "-days", "2", "-subj", "/CN=localhost", "-keyout", folder / f"{name}.key", "-out", folder / f"{name}.crt"],
            check=True, capture_output=True,
        )  # fmt: skip
    (folder / "own.key").chmod(0o644)
    tls = {
        "client_tls_sslmode": "require",
        "client_tls_key_file": folder / "own.key",
        "client_tls_cert_file": folder / "own.crt",
    }
    with pgbouncer(folder / "pool", pgvector_cluster, "session", **tls) as url:
        yield {"port": urlsplit(url).port, "own": folder / "own.crt", "other": folder / "other.crt"}


@contextmanager
def listener(answer):
    """What listens on a port without being PostgreSQL: it says ``answer``, or nothing and holds on."""
    with socket.socket() as server_socket:
        server_socket.bind(("127.0.0.1", 0))
        server_socket.listen(5)
        held = []

        def serve():
            try:
                while True:
                    client, _ = server_socket.accept()
                    held.append(client)
                    if answer is not None:
                        client.recv(8)
                        client.sendall(answer)
                        client.close()
            except OSError:
                return

        threading.Thread(target=serve, daemon=True).start()
        yield server_socket.getsockname()[1]


def refused(monkeypatch, tmp_path, url):
    monkeypatch.setenv("PGVECTOR_URL", url)
    with pytest.raises(ServiceUnavailable) as error:
        benchmark.prepare(ONE, "cpu", Cache(tmp_path / "cache"))
    assert "geheim" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("where", "why", "step"),
    [
        ("keeper:falsch@127.0.0.1:{}/postgres", "password authentication failed", "correct the user and its password"),
        ("nobody:geheim@127.0.0.1:{}/postgres", "password authentication failed", "correct the user and its password"),
        ("keeper:geheim@127.0.0.1:{}/nowhere", 'database "nowhere" does not exist', "create the database"),
        ("keeper:geheim@127.0.0.1:{}/closed", "not currently accepting", "create the database"),
        ("keeper:geheim@127.0.0.1:{}/inner_one", "permission denied for database", "GRANT CONNECT"),
        ("guest:geheim@127.0.0.1:{}/postgres", "too many connections for role", "raise the limit"),
        ("barred:geheim@127.0.0.1:{}/postgres", "not permitted to log in", "ALTER ROLE"),
        ("stranger:geheim@127.0.0.1:{}/postgres", "pg_hba.conf", "add a line"),
        ("keeper:geheim@127.0.0.1:{}/postgres?sslmode=require", "does not support SSL", "turn SSL on"),
        ("keeper:geheim@nohost.invalid:{}/postgres", "failed to resolve host", "correct the host"),
    ],
)  # fmt: skip
def test_a_refusal_is_no_skip_and_says_what_to_do(tcp, tmp_path, monkeypatch, where, why, step):
    said = refused(monkeypatch, tmp_path, f"postgresql://{where.format(tcp)}")
    assert why in said and ("has no address" if "nohost" in where else "refuses the connection") in said
    assert step in said.partition("Next step: ")[2]


@pytest.mark.parametrize(
    ("where", "why", "step"),
    [
        ("localhost:{port}/postgres?sslmode=verify-full&sslrootcert={other}", "certificate verify failed", "sslrootcert"),
        ("127.0.0.1:{port}/postgres?sslmode=verify-full&sslrootcert={own}", "does not match host name", "the host as the certificate does"),
        ("localhost:{port}/postgres?sslmode=verify-full&sslrootcert=/none", "root certificate file", "sslrootcert"),
        ("localhost:{port}/postgres?sslmode=disable", "SSL required", "sslmode=require"),
    ],
)  # fmt: skip
def test_a_certificate_that_is_not_trusted_is_no_skip(tls, tmp_path, monkeypatch, where, why, step):
    said = refused(monkeypatch, tmp_path, f"postgresql://postgres:geheim@{where.format(**tls)}")
    assert why in said and "refuses the connection" in said
    assert step in said.partition("Next step: ")[2]


def test_the_right_certificate_lets_in(tls, monkeypatch):
    where = "localhost:{port}/postgres?sslmode=verify-full&sslrootcert={own}".format(**tls)
    monkeypatch.setenv("PGVECTOR_URL", f"postgresql://postgres@{where}")
    with session("look") as connection:
        assert connection.pgconn.ssl_in_use and connection.execute("SELECT 7").fetchone() == (7,)


@pytest.mark.parametrize(
    ("answer", "why", "step"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "invalid response", "no PostgreSQL server answers there"),
        (b"N", "closed the connection", "see the log of what listens there"),
        (None, "timeout expired", "see the log of what listens there"),
    ],
)  # fmt: skip
def test_what_answers_and_is_no_postgresql_is_no_skip(tmp_path, monkeypatch, answer, why, step):
    monkeypatch.setitem(connecting._PATIENCE, "connect_timeout", 2)
    with listener(answer) as port:
        said = refused(monkeypatch, tmp_path, f"postgresql://u:geheim@127.0.0.1:{port}/db")
    assert why in said and step in said


def test_a_server_that_does_not_speak_ssl_is_no_skip(tmp_path, monkeypatch):
    with listener(b"N") as port:
        said = refused(monkeypatch, tmp_path, f"postgresql://u:geheim@127.0.0.1:{port}/db?sslmode=require")
    assert "does not support SSL" in said and "turn SSL on there" in said


def test_a_server_that_starts_up_is_no_skip(tmp_path, monkeypatch):
    message = b"SFATAL\0VFATAL\0C57P03\0Mthe database system is starting up\0\0"
    with listener(b"E" + (len(message) + 4).to_bytes(4, "big") + message) as port:
        said = refused(monkeypatch, tmp_path, f"postgresql://u:geheim@127.0.0.1:{port}/db?sslmode=disable")
    assert "starting up" in said and "wait until it is up" in said


def test_two_hosts_are_absent_only_together(tmp_path, monkeypatch):
    absent = free_port()
    url = f"postgresql://u:geheim@127.0.0.1:{absent},127.0.0.1:{{}}/db"
    monkeypatch.setenv("PGVECTOR_URL", f"postgresql://u@/db?host=127.0.0.1,127.0.0.1&port={absent},{free_port()}")
    with pytest.raises(Unavailable, match="cannot be reached"):
        benchmark.prepare(ONE, "cpu", Cache(tmp_path / "cache"))
    with listener(b"X") as port:
        for ports in (f"{absent},{port}", f"{port},{absent}"):
            url = f"postgresql://u:geheim@/db?host=127.0.0.1,127.0.0.1&port={ports}"
            assert "refuses the connection" in refused(monkeypatch, tmp_path, url)


@pytest.mark.parametrize(
    ("query", "named", "step"),
    [
        ("ssl=1", "'ssl'", "sslmode=require"),
        ("schema=x", "'schema'", "leave it out"),
        ("currentSchema=x", "'currentSchema'", "leave it out"),
        ("sslmod=require", "'sslmod'", "write sslmode"),
        ("pool_timeout=3", "'pool_timeout'", "leave it out"),
        ("sslmode=on", 'sslmode value: "on"', "correct it"),
        ("connect_timeout=soon", '"soon"', "correct it"),
        ("target_session_attrs=primry", '"primry"', "correct it"),
    ],
)
def test_a_parameter_that_libpq_does_not_take_is_named_before_anything_starts(monkeypatch, query, named, step):
    monkeypatch.setenv("PGVECTOR_URL", f"postgresql://u:geheim@127.0.0.1:1/db?{query}")
    with pytest.raises(InputError) as error:
        registry.named("pgvector_search").look(ONE, {})
    said = str(error.value)
    assert named in said and step in said and "geheim" not in said


@pytest.mark.parametrize(
    "url",
    ["postgresql://u:12/h?eim=x@127.0.0.1/db", "postgresql://u:12/x?sslmode=ge@heim/db", "host=h password=ge heim=x"],
)
def test_a_password_that_looks_like_a_parameter_is_not_shown(monkeypatch, url):
    monkeypatch.setenv("PGVECTOR_URL", url)
    with pytest.raises(InputError, match="is not a PostgreSQL connection string") as error:
        registry.named("pgvector_search").look(ONE, {})
    assert "eim" not in str(error.value) and "ge" not in str(error.value).partition("Next")[0].replace("nightgate", "")


def test_the_users_own_patience_and_name_count(pgvector_cluster, monkeypatch):
    monkeypatch.setenv("PGVECTOR_URL", f"{pgvector_cluster.url()}&application_name=mine&connect_timeout=3")
    with session("look") as connection:
        assert connection.info.get_parameters()["connect_timeout"] == "3"
        assert connection.execute("SHOW application_name").fetchone() == ("mine",)
