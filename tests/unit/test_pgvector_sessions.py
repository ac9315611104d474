"""Absence, refusal, poolers and pinned settings, decided from what is at hand."""

from __future__ import annotations

import os
import signal
import threading
from errno import ECONNREFUSED, ECONNRESET, EHOSTUNREACH, ENETUNREACH, ENOENT, ETIMEDOUT
from types import SimpleNamespace

import pytest
from psycopg import OperationalError, errors
from support.scripted_pg import Connection

from nightgate.errors import NotMeasured, ServiceUnavailable, Unavailable
from nightgate.measure import ending
from nightgate.pgvector_search import connecting, faults, pinning, server

TCP = 'connection failed: connection to server at "10.0.0.1", port 5432 failed: '
SOCKET = 'connection is bad: connection to server on socket "/run/.s.PGSQL.5432" failed: '


@pytest.mark.parametrize("number", [ECONNREFUSED, ETIMEDOUT, EHOSTUNREACH, ENETUNREACH])
def test_a_connection_that_the_system_refuses_is_absence(number):
    error = OperationalError(f"{TCP}{os.strerror(number)}\n\tIs the server running on that host?")
    assert connecting.absent(error, False)
    assert not connecting.absent(error, True), "something had answered before"


def test_a_socket_without_a_server_is_absence():
    assert connecting.absent(OperationalError(SOCKET + os.strerror(ENOENT)), False)
    assert not connecting.absent(OperationalError(SOCKET + "Permission denied"), False)


@pytest.mark.parametrize(
    "why",
    [
        "FATAL:  password authentication failed", 'FATAL:  database "Connection refused" does not exist',
        "SSL error: certificate verify failed", "server closed the connection unexpectedly", os.strerror(ECONNRESET),
        "received invalid response to SSL negotiation: H", "FATAL:  sorry, too many clients already",
        "FATAL:  the database system is starting up", 'root certificate file "/x" does not exist',
        "server does not support SSL, but SSL was required",
    ],
)  # fmt: skip
def test_everything_else_that_is_said_is_a_refusal(why):
    assert not connecting.absent(OperationalError(TCP + why), False)
    both = (
        f"{TCP}{os.strerror(ECONNREFUSED)}\nMultiple connection attempts failed. All failures were:\n- host: {TCP}{why}"
    )
    assert not connecting.absent(OperationalError(both), False)


@pytest.mark.parametrize(
    "text", ["failed to resolve host 'x': [Errno -2] Name or service not known", 'invalid sslmode value: "on"', ""]
)
def test_what_was_never_tried_is_no_absence(text):
    assert not connecting.absent(OperationalError(text), False)


def test_a_time_out_is_absence_only_while_nobody_has_answered():
    error = errors.ConnectionTimeout("connection timeout expired")
    assert connecting.absent(error, False) and not connecting.absent(error, True)
    mixed = f"connection timeout expired\nMultiple connection attempts failed.\n- host: {TCP}FATAL: no"
    assert not connecting.absent(errors.ConnectionTimeout(mixed), False)


def test_absence_is_a_skip_unless_the_server_is_required():
    gone = OperationalError(TCP + os.strerror(ECONNREFUSED))
    skipped = connecting.not_connected(gone, "h/db", False, required=False)
    failed = connecting.not_connected(gone, "h/db", False, required=True)
    assert (type(skipped), type(failed)) == (Unavailable, ServiceUnavailable)
    assert skipped.what.startswith("the PostgreSQL server at h/db cannot be reached (connection failed: ")
    assert skipped.next_step == "start it, or point PGVECTOR_URL at a PostgreSQL server with pgvector"
    for required in (False, True):
        refused = connecting.not_connected(OperationalError(f"{TCP}FATAL: x"), "h/db", False, required=required)
        assert type(refused) is ServiceUnavailable and refused.next_step == "see its log"
        assert refused.what == f"the PostgreSQL server at h/db refuses the connection ({TCP}FATAL: x)"


@pytest.mark.parametrize(
    ("why", "step"),
    [
        ("FATAL: sorry, too many clients already", "end other connections"),
        ("FATAL: remaining connection slots are reserved", "end other connections"),
        ("FATAL: no more connections allowed (max_client_conn)", "end other connections"),
        ("FATAL: the database system is shutting down", "wait until it is up"),
        ("FATAL: the database system is in recovery mode", "wait until it is up"),
        ('FATAL: no pg_hba.conf entry for host "x", no encryption', "add a line"),
        ("fe_sendauth: no password supplied", "correct the user and its password"),
        ("FATAL: no such user", "correct the user and its password"),
        ('FATAL: no such database: "x"', "create the database"),
        ("FATAL: unsupported startup parameter: options", "leave that parameter out"),
        ("SSL error: tlsv1 alert unknown ca", "name the authority"),
        ("FATAL: SSL required", "sslmode=require"),
        ("received invalid response to SSL negotiation: H", "no PostgreSQL server answers there"),
        ("server closed the connection unexpectedly", "see the log of what listens there"),
        ("session is read-only", "another target_session_attrs"),
        ("could not connect: Permission denied", "let this user enter the folder"),
    ],
)
def test_the_step_follows_from_what_was_said(why, step):
    assert step in connecting.not_connected(OperationalError(TCP + why), "h/db", True, required=False).next_step


# poolers


class Backend(Connection):
    """A client of a pooler: each transaction is served by the next of ``backends``."""

    def __init__(self, *backends, told=-1):
        super().__init__()
        self.backends, self.info, self.ended = iter(backends), SimpleNamespace(backend_pid=told), False

    def execute(self, statement, values=None):
        super().execute(statement, values)
        if statement == "SELECT pg_backend_pid()":
            return SimpleNamespace(fetchone=lambda: (next(self.backends),))
        return None

    def close(self):
        self.ended = True

    def fileno(self):
        return 0


def test_a_direct_connection_needs_no_second():
    def never():
        raise AssertionError

    connection = Backend(7, told=7)
    assert pinning.prove(connection, never) is False
    assert connection.said == ["SELECT pg_backend_pid()"]


def test_a_pooler_that_keeps_sessions_is_proven_three_times():
    first, others = Backend(7, 7, 7, 7), [Backend(8), Backend(9), Backend(8)]
    made = iter(others)
    assert pinning.prove(first, lambda: next(made)) is True
    assert all(other.said == ["BEGIN", "SELECT pg_backend_pid()", "ROLLBACK"] and other.ended for other in others)
    assert next(made, None) is None
    assert not any("set" in str(said).lower() for said in first.said), "nothing is set before it is proven"


@pytest.mark.parametrize(
    ("own", "others"),
    [
        ((7,), [(7,)]),  # the second is served by what the first had
        ((7, 8), [(9,)]),  # the first is served by another while the second holds its own
        ((7, 7), [(8,), (7,)]),
        ((7, 7, 7, 9), [(8,), (8,), (8,)]),
    ],
)
def test_sessions_that_are_shared_are_refused(own, others):
    made = iter([Backend(*backends) for backends in others])
    with pytest.raises(ServiceUnavailable) as refused:
        pinning.prove(Backend(*own), lambda: next(made))
    assert refused.value.what == (
        "the connection goes through a pooler that shares sessions between clients (transaction or statement pooling), "
        "where neither settings nor locks hold"
    )
    assert refused.value.next_step == (
        "point PGVECTOR_URL at the server itself, or at a pooler that gives each client a session "
        "(PgBouncer: pool_mode=session)"
    )


def refusing(text):
    def execute(statement, values=None):
        raise OperationalError(text)

    return SimpleNamespace(execute=execute, close=lambda: None, fileno=lambda: 0)


def test_a_pooler_without_a_second_session_is_refused():
    with pytest.raises(ServiceUnavailable, match="serves no second client .query_wait_timeout.") as refused:
        pinning.prove(Backend(7), lambda: refusing("query_wait_timeout"))
    assert refused.value.next_step.startswith("raise its pool_size, or point PGVECTOR_URL")
    with pytest.raises(ServiceUnavailable, match="shares sessions"):
        pinning.prove(Backend(7), lambda: refusing("transaction blocks not allowed in statement pooling mode"))


def test_a_wait_for_a_second_session_is_cut_off(monkeypatch):
    cut = threading.Event()
    monkeypatch.setattr(pinning, "_shut", lambda number: cut.set() if number == 5 else None)
    monkeypatch.setattr(pinning, "_PATIENCE", 0.01)
    with pinning._cut_off(SimpleNamespace(fileno=lambda: 5)):
        assert cut.wait(5)
    cut.clear()
    monkeypatch.setattr(pinning, "_PATIENCE", 0.2)
    with pinning._cut_off(SimpleNamespace(fileno=lambda: 5)):
        pass
    assert not cut.wait(0.4)


def test_what_is_pinned_is_looked_at_in_the_next_transaction():
    connection = Connection([("lock_timeout", "30min"), ("jit", "off")], [(["30min", "off"],)])
    pinning.pin(connection)
    (first, wanted), (second, names) = connection.said
    assert first.startswith("SELECT name, set_config(name, wanted, false)") and "JOIN pg_settings USING (name)" in first
    assert wanted == [list(pinning.PINNED), list(pinning.PINNED.values())]
    assert "current_setting(name) ORDER BY place" in second and names == [["lock_timeout", "jit"]]
    for answer in ([(["30min", "on"],)], []):
        with pytest.raises(ServiceUnavailable, match="shares sessions"):
            pinning.pin(Connection([("lock_timeout", "30min"), ("jit", "off")], answer))


def test_every_kind_of_time_limit_is_lifted():
    limits = {name for name, value in pinning.PINNED.items() if value == "0"}
    assert limits == {
        "statement_timeout", "transaction_timeout", "idle_in_transaction_session_timeout", "idle_session_timeout",
    }  # fmt: skip
    assert pinning.PINNED["lock_timeout"] == "30min" and pinning.PINNED["row_security"] == "off"
    assert (pinning.PINNED["enable_indexscan"], pinning.PINNED["enable_seqscan"]) == ("on", "on")


# what the server reports


def fault(error, *answers, closed=False):
    connection = Connection(*answers)
    connection.closed = closed
    return faults.translated(error, connection, "h/db", "load")


def test_a_lost_server_and_a_refused_statement_are_told_apart():
    lost = fault(OperationalError("terminating\nconnection"), closed=True)
    assert type(lost) is ServiceUnavailable
    assert lost.what == "the PostgreSQL server at h/db was lost while it should load (terminating connection)"
    assert lost.next_step == "see its log, start it, and try again"
    refused = fault(errors.UndefinedTable("no such table"))
    assert type(refused) is NotMeasured
    assert (refused.what, refused.next_step) == ("the PostgreSQL server at h/db could not load: no such table", None)


@pytest.mark.parametrize(
    ("error", "step"),
    [
        (errors.ReadOnlySqlTransaction("x"), "primary server"),
        (errors.LockNotAvailable("x"), "another run uses the tables"),
        (
            errors.DiskFull('could not extend file "base/1": No space left on device'),
            "free some space there, or lower rows",
        ),
        (errors.DiskFull('could not resize shared memory segment "/PostgreSQL.12" to 9 bytes: No space'), "/dev/shm"),
        (errors.DiskFull('konnte Segment »"/PostgreSQL.12"« nicht vergrößern'), "/dev/shm"),
        (
            errors.ConfigurationLimitExceeded("temporary file size exceeds temp_file_limit"),
            "raise the limit that it names",
        ),
        (
            errors.ProgramLimitExceeded("memory required is 9 MB, maintenance_work_mem is 1 MB"),
            "raise maintenance_work_mem",
        ),
        (errors.OutOfMemory("out of memory"), "give it more memory"),
        (errors.TooManyConnections("x"), "end other connections"),
        (errors.QueryCanceled("canceling statement due to user request"), "somebody there cancelled it"),
        (errors.QueryCanceled("canceling statement due to statement timeout"), "raise statement_timeout for this user"),
        (errors.InvalidSchemaName("no schema has been selected to create in"), "search_path"),
        (errors.SerializationFailure("x"), "try again"),
        (errors.DeadlockDetected("x"), "try again"),
        (errors.UndefinedFile("could not access file"), "pgvector is not whole"),
        (OperationalError("x"), "see its log"),
    ],
)
def test_the_advice_follows_from_the_cause(error, step):
    found = fault(error)
    assert type(found) is ServiceUnavailable and step in found.next_step
    assert ("free some space" in found.next_step) is (step == "free some space there, or lower rows")


@pytest.mark.parametrize(
    ("row", "step"),
    [
        (("db", "me", False, False, None), 'let an administrator run GRANT CREATE ON DATABASE "db" TO "me"'),
        (("db", "me", False, True, "other"),
         'let an administrator run GRANT USAGE, CREATE ON SCHEMA nightgate_bench TO "me", or drop that schema'),
        (("db", "me", True, False, "other"),
         "tables in nightgate_bench belong to other: measure as that user, or let it drop them"),
        (("db", "me", True, False, None), 'let an administrator grant what it names to "me"'),
    ],
)  # fmt: skip
def test_a_missing_right_is_looked_up(row, step):
    assert fault(errors.InsufficientPrivilege("permission denied"), [row]).next_step == step
    nothing = fault(errors.InsufficientPrivilege("permission denied"), OperationalError("gone"))
    assert nothing.next_step == "let an administrator grant what it names"


# the server itself


def test_a_server_that_takes_no_writes_says_why():
    server._require_writes(Connection([(False,)], []))
    with pytest.raises(ServiceUnavailable, match="is a standby.*primary server"):
        server._require_writes(Connection([(True,)]))
    with pytest.raises(ServiceUnavailable, match=r"default_transaction_read_only is on \(set by: user\)"):
        server._require_writes(Connection([(False,)], [("user",)]))


def test_pgvector_is_found_where_it_is_and_may_be_used():
    connection = Connection([("tools", True, "me")])
    server._find_pgvector(connection)
    assert connection.said[1] == ("SELECT set_config('search_path', quote_ident(%s), false)", ["tools"])
    connection = Connection([])
    server._find_pgvector(connection)
    assert len(connection.said) == 1
    with pytest.raises(ServiceUnavailable) as refused:
        server._find_pgvector(Connection([("tools", False, "me")]))
    assert refused.value.what == "pgvector is in the schema tools of that database, which the user me may not use"
    assert refused.value.next_step == 'let an administrator run GRANT USAGE ON SCHEMA "tools" TO "me"'


# an order to end


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_order_to_end_is_an_exception_and_is_heard_once(number):
    before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    cleaned = []
    with pytest.raises(KeyboardInterrupt), ending.like_ctrl_c():
        try:
            os.kill(os.getpid(), number)
            signal.pause()
        finally:
            os.kill(os.getpid(), signal.SIGTERM)  # whoever ends us grows impatient
            os.kill(os.getpid(), signal.SIGINT)
            cleaned.append(True)
    assert cleaned == [True]
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_thread_has_no_signals_and_needs_none():
    failed = []

    def run():
        try:
            with ending.like_ctrl_c():
                pass
        except ValueError as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert failed == []
