"""What people say of results: that one is excluded, or that a shift is accepted as the new baseline from one on.

Each stands with its reason, who said it and when; it is taken back, never deleted. What is excluded, or lies before an
accepted baseline, is still kept and shown; only no later night is judged by it (`nightgate.results.past`).
"""

from __future__ import annotations

import getpass
import os
import socket
from typing import TYPE_CHECKING

from nightgate.errors import InputError, nearest
from nightgate.results.noted import Kind, Scope

if TYPE_CHECKING:
    import psycopg

    from nightgate.results.store import Store

_IN_SCOPE = """
run_id = %(run_id)s AND %(benchmark)s IN ('', benchmark) AND %(variant)s IN ('', variant) AND %(device)s IN ('', device)
"""
_MATCHING = f"SELECT benchmark, variant, device, status FROM nightgate.results WHERE {_IN_SCOPE}"
_THIS = """
kind = %(kind)s AND run_id = %(run_id)s AND (benchmark, variant, device) = (%(benchmark)s, %(variant)s, %(device)s)
AND withdrawn_at IS NULL
"""
_HELD = f"SELECT reason, noted_by FROM nightgate.notes WHERE {_THIS}"
_INSERT = """
INSERT INTO nightgate.notes (kind, run_id, benchmark, variant, device, reason, noted_by)
VALUES (%(kind)s, %(run_id)s, %(benchmark)s, %(variant)s, %(device)s, %(reason)s, %(by)s)
"""
_WITHDRAW = f"""
UPDATE nightgate.notes SET withdrawn_reason = %(reason)s, withdrawn_by = %(by)s, withdrawn_at = clock_timestamp() WHERE {_THIS}
"""
_UNDO: dict[Kind, str] = {"excluded": "include", "accepted": "unaccept"}


def say(store: Store, kind: Kind, scope: Scope, reason: str, by: str) -> None:
    """Note something of results.

    Raises:
        InputError: there are no such results, nothing of them was measured, no reason is given, or it is said already.
    """
    if not reason.strip():
        raise InputError("no reason is given", "say why: --reason TEXT")
    with store.writing() as connection:
        _must_be_there(connection, scope)
        if held := connection.execute(_HELD, _values(kind, scope)).fetchone():
            raise InputError(
                f"{scope} is {kind} already, by {held[1]}: {held[0]}",
                f"nothing, or take it back first: nightgate results {_UNDO[kind]}",
            )
        connection.execute(_INSERT, _values(kind, scope, reason, by))


def take_back(store: Store, kind: Kind, scope: Scope, reason: str | None, by: str) -> None:
    """What was said of just these results no longer holds.

    Raises:
        InputError: it was not said of them.
    """
    with store.writing() as connection:
        if connection.execute(_WITHDRAW, _values(kind, scope, reason, by)).rowcount:
            return
    said = [str(note.scope) for note in store.notes([scope.run_id]) if note.kind == kind]
    hint = f"say just what was said: {'; '.join(said)}" if said else "see `nightgate results notes`"
    raise InputError(f"{scope} is not {kind}", hint)


def whoever() -> str:
    """user@host of this process."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def _must_be_there(connection: psycopg.Connection, scope: Scope) -> None:
    values = _values("excluded", scope)
    found = connection.execute(_MATCHING, values).fetchall()
    if any(status == "measured" for *_, status in found):
        return
    if found:
        raise InputError(f"nothing of {scope} was measured, so nothing is judged by it", "name another run")
    there = connection.execute(_MATCHING, values | {"benchmark": "", "variant": "", "device": ""}).fetchall()
    if there:
        known = ", ".join(f"{benchmark} {variant} on {device}" for benchmark, variant, device, _ in there)
        raise InputError(f"the store has nothing of {scope}", f"name one of {known}")
    runs = [
        run_id
        for (run_id,) in connection.execute("SELECT run_id FROM nightgate.runs ORDER BY recorded_at DESC LIMIT 500")
    ]
    raise InputError(
        f"the store has no run {scope.run_id!r}{nearest(scope.run_id, runs, 0.8)}",
        "name one of its runs; results that are in files alone cannot be noted",
    )


def _values(kind: Kind, scope: Scope, reason: str | None = None, by: str = "") -> dict[str, object]:
    return {
        "kind": kind,
        "run_id": scope.run_id,
        "benchmark": scope.benchmark,
        "variant": scope.variant,
        "device": scope.device,
        "reason": reason,
        "by": by,
    }
