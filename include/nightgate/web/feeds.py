"""What others show of the verdicts: a badge, and a feed of those that became another."""

from __future__ import annotations

from collections.abc import Sequence

from nightgate.errors import InputError, nearest
from nightgate.publish import figures
from nightgate.publish.badge import badge
from nightgate.publish.feed import Change, feed
from nightgate.publish.sentences import unmet
from nightgate.results.store import Run, Store
from nightgate.web.board import host_of

_NIGHTS = 100


def badge_of(store: Store, suite: str, scale: str) -> str:
    """The badge of the newest judged night of a suite, at any scale unless one is named.

    Raises:
        InputError: there is no such suite.
    """
    nights = store.nights(_NIGHTS, brief=True)
    if suite not in (known := sorted({run.suite for run in nights})):
        raise InputError(f"there is no night of a suite {suite!r}{nearest(suite, known)}")
    of = (run for run in nights if run.suite == suite and run.state and (not scale or run.scale == scale))
    newest = next(of, None)
    if newest is None:
        return badge(suite, None)
    return badge(suite, newest.state, figures.clock(newest.started_at).split(",")[0])


def feed_of(store: Store, board: str) -> str:
    """The feed of every suite, scale and host; ``board`` is the address of the board."""
    return feed(changes(store.nights(_NIGHTS, brief=True)), board)


def changes(nights: Sequence[Run]) -> list[Change]:
    """The nights whose verdict is another than that of the night before, of the same suite, scale and host. ``nights`` are the
    newest first, and so is what is returned."""
    found: list[Change] = []
    before: dict[tuple[str, str, str], str] = {}
    for run in reversed(nights):
        if not run.state:
            continue
        series = (run.suite, run.scale, host_of(run))
        if before.get(series) != run.state:
            at = run.finished_at or run.started_at or ""
            name = ", ".join(filter(None, series))
            found.append(Change(run.run_id, name, at, before.get(series), run.state, unmet(run.results)))
        before[series] = run.state
    return found[::-1]
