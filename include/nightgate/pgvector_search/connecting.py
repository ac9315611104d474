"""Open a connection, and when none comes about say whether nobody is there or somebody refuses."""

from __future__ import annotations

import os
import re
from errno import ECONNREFUSED, EHOSTDOWN, EHOSTUNREACH, ENETUNREACH, ENOENT, ETIMEDOUT
from typing import TYPE_CHECKING, Any

from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from nightgate.errors import NightgateError, ServiceUnavailable, Unavailable
from nightgate.pgvector_search import address
from nightgate.pgvector_search.faults import reason
from nightgate.vector_search.store import Address

if TYPE_CHECKING:
    from psycopg import Connection, Error

_PATIENCE = {"connect_timeout": 10, "keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}
_COMES_BACK = 60.0  # seconds
_ABSENT = tuple(map(os.strerror, (ECONNREFUSED, ENOENT, ETIMEDOUT, EHOSTUNREACH, EHOSTDOWN, ENETUNREACH)))
_ATTEMPT = re.compile(r"connection to server (?:at|on socket) \S.*? failed: (.*)")

_WHERE = f"correct the host and port in {address.URL_VARIABLE}"
_LOGIN = f"correct the user and its password in {address.URL_VARIABLE}"
_ROOM = "end other connections there, or let an administrator raise the limit"
_STEPS = (  # what a refusal says → what to do; the first that is found counts
    (r"resolve host|translate host name", f"correct the host in {address.URL_VARIABLE}, or this host's name service"),
    (r"invalid response|unsupported frontend|unexpected response", f"no PostgreSQL server answers there: {_WHERE}"),
    (r"too many|connection slots|connection limit|no more connections", _ROOM),
    (r"starting up|shutting down|recovery mode|not yet accepting|not accepting", "wait until it is up, then try again"),
    (
        r"pg_hba\.conf",
        "let an administrator add a line for this user, database and host to its pg_hba.conf, with SSL "
        f"or without as {address.URL_VARIABLE} asks for it",
    ),
    (r"password|authentication|no such user|role .* does not exist", _LOGIN),
    (
        r"database .* does not exist|no such database|not currently accepting",
        f"create the database there, or correct its name in {address.URL_VARIABLE}",
    ),
    (r"permission denied for database", "let an administrator run GRANT CONNECT ON DATABASE for this user"),
    (r"not permitted to log in", "let an administrator run ALTER ROLE … LOGIN for this user"),
    (
        r"unsupported startup parameter",
        f"leave that parameter out of {address.URL_VARIABLE}, or let the pooler ignore it (ignore_startup_parameters)",
    ),
    (r"does not support SSL", "turn SSL on there, or ask for it with another sslmode"),
    (r"SSL required|requires SSL", "ask for it with sslmode=require, or leave sslmode out"),
    (
        r"certificate|root\.crt|SSL",
        "name the authority that signed its certificate (sslrootcert=FILE), and the host as "
        "the certificate does, or choose another sslmode",
    ),
    (r"session is |hot standby", "name another server, or another target_session_attrs"),
    (r"closed the connection|reset by peer|timeout expired", f"see the log of what listens there, or {_WHERE}"),
    (r"Permission denied", "let this user enter the folder of the server's socket"),
)


def connect(where: Address, name: str, *, required: bool) -> Connection[Any]:
    """An autocommit connection. The embedded server comes back by itself when it ended, so for that one is waited.

    Raises:
        Unavailable: nobody is there (ServiceUnavailable when it is ``required``, or the embedded one).
        ServiceUnavailable: the host has no address, or what answers there refuses.
    """
    import psycopg
    from psycopg.conninfo import conninfo_to_dict

    ours, url = where.ours, where.url
    given = conninfo_to_dict(url)
    defaults: dict[str, Any] = {"application_name": "nightgate", **_PATIENCE}
    more: dict[str, Any] = {key: value for key, value in defaults.items() if key not in given} | {
        "client_encoding": "UTF8"
    }
    answered: list[bool] = []

    def once() -> Connection[Any]:
        answered.clear()
        return _tracking(answered).connect(url, autocommit=True, **more)

    tries = Retrying(
        retry=retry_if_exception_type(psycopg.Error),
        wait=wait_fixed(0.2),
        stop=stop_after_delay(_COMES_BACK * ours),
        reraise=True,
    )
    try:
        return tries(once)
    except psycopg.Error as error:
        raise not_connected(error, name, any(answered), required=required or ours) from error


def not_connected(error: Error, name: str, answered: bool, *, required: bool) -> NightgateError:
    """`Unavailable` (a skip) where nobody is, unless the server is ``required``; a refusal is never a skip.

    Args:
        answered: whether a host took the connection on, whatever came of it.
    """
    why = reason(error)
    if absent(error, answered):
        step = f"start it, or point {address.URL_VARIABLE} at a PostgreSQL server with pgvector"
        kind = ServiceUnavailable if required else Unavailable
        return kind(f"the PostgreSQL server at {name} cannot be reached ({why})", step)
    step = next((step for pattern, step in _STEPS if re.search(pattern, why)), "see its log")
    does = "refuses the connection" if "resolve host" not in why else "has no address"
    return ServiceUnavailable(f"the PostgreSQL server at {name} {does} ({why})", step)


def absent(error: Error, answered: bool) -> bool:
    """Whether the host has an address and nobody listens there: every attempt was refused by the system, or timed out
    before a connection stood."""
    from psycopg.errors import ConnectionTimeout

    attempts = _ATTEMPT.findall(str(error))
    if isinstance(error, ConnectionTimeout):
        return not answered and all(why.startswith(_ABSENT) for why in attempts)
    return bool(attempts) and not answered and all(why.startswith(_ABSENT) for why in attempts)


def _tracking(answered: list[bool]) -> type[Connection[Any]]:
    """psycopg's connection, which on the way notes whether a host took it on; its time-out does not tell."""
    from psycopg import Connection, OperationalError, errors, pq
    from psycopg.waiting import Wait

    class Tracked(Connection[Any]):
        @classmethod
        def _connect_gen(cls, conninfo: str = "") -> Any:
            pgconn = pq.PGconn.connect_start(conninfo.encode())
            step: int = pq.PollingStatus.WRITING
            while step != pq.PollingStatus.OK:
                if pgconn.status != pq.ConnStatus.BAD:
                    step = pgconn.connect_poll()
                if pgconn.status == pq.ConnStatus.BAD:
                    message = f"connection failed: {pgconn.get_error_message()}"
                    raise OperationalError(message, pgconn=errors.finish_pgconn(pgconn))
                answered.append(pgconn.status not in (pq.ConnStatus.STARTED, pq.ConnStatus.NEEDED))
                ready = 0 if step != pq.PollingStatus.OK else 1
                while not ready:
                    ready = yield pgconn.socket, Wait.R if step == pq.PollingStatus.READING else Wait.W
            pgconn.nonblocking = 1
            return cls(pgconn)

    return Tracked
