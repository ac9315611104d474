"""The table and index of every variant, on the server before anything is timed; and nothing left there afterwards."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nightgate.artifacts import Cache
from nightgate.errors import NightgateError, ServiceUnavailable, Unavailable
from nightgate.pgvector_search import address, baseline, ending, locks, server, tables
from nightgate.pgvector_search.settings import Settings
from nightgate.pgvector_search.variants import VARIANTS, over_float32, too_long
from nightgate.record import Device
from nightgate.vectors import data
from nightgate.vectors.dataset import open_dataset
from nightgate.vectors.source import Synthetic

if TYPE_CHECKING:
    from psycopg import Connection

log = logging.getLogger(__name__)


def prepare(settings: Settings, device: Device, cache: Cache) -> dict[str, Any]:
    """The data set, its exact neighbours, and a loaded and indexed table per variant; what stands is reused.

    Returns:
        ``vectors`` and ``truth`` (folders), ``data`` (facts), ``gated``: the variants that are, where one that the
        server lacks is replaced by the same index over float32, ``absent``: variant → why it cannot be there, and
        ``failed``: variant → why its table could not be built. What fails as a whole leaves no table behind, unless
        tables are kept.

    Raises:
        Unavailable: ``device`` is "gpu", or there is no server (ServiceUnavailable when the settings require one).
        ServiceUnavailable: the server refuses, went away, has no pgvector, or this user may not create what is needed.
    """
    if device == "gpu":
        raise Unavailable("pgvector searches on the CPU", "measure it on the cpu device")
    with server.session("prepare the extension vector", required=settings.require_service) as connection:
        locks.wait(connection, shared=False)  # two runs that create the extension at once would collide
        server.ensure_extension(connection)
        gated, absent = _stand_ins(settings, connection)
    source = Synthetic(settings.rows, settings.dim, settings.queries, settings.seed)
    threads = os.cpu_count() or 1
    found = data.prepare(cache, source=source, threads=threads)
    truth = baseline.prepare(cache, found["vectors"], found["truth"], found["data"]["digest"], threads)
    prepared = {**found, "truth": truth, "gated": gated, "absent": absent, "failed": {}}
    with ending.like_ctrl_c():
        try:
            _load(settings, prepared)
        except BaseException:
            tidy_up(tables.drop_drafts if settings.keeps else tables.remove)
            raise
    return prepared


def _load(settings: Settings, prepared: dict[str, Any]) -> None:
    """Load and index each variant. One that cannot be built is noted in ``prepared["failed"]``, and the next is loaded.

    Raises:
        NightgateError: the last of the gated variants could not be built either.
    """
    base = open_dataset(Path(prepared["vectors"])).base
    gated = {variant for variant in prepared["gated"] if variant not in prepared["absent"]}
    for variant in measured(settings, prepared):
        try:
            with server.session("load and index the table") as connection:
                locks.wait(connection, shared=False)
                tables.ensure(connection, table_of(settings, prepared, variant), base)
        except NightgateError as error:
            log.error("%s: %s", variant, error)
            prepared["failed"][variant] = str(error)
            gated.discard(variant)
            if not gated:
                raise


def tidy(settings: Settings) -> None:
    """Remove what a run that ended between `prepare` and `measure` has left on the server, unless it is to be kept."""
    if address.url() and not settings.keeps:
        tidy_up(tables.remove)


def measured(settings: Settings, prepared: dict[str, Any]) -> list[str]:
    wanted = dict.fromkeys([*prepared["gated"], *settings.controls])
    return [variant for variant in wanted if variant not in prepared["absent"]]


def table_of(settings: Settings, prepared: dict[str, Any], variant: str) -> tables.Table:
    return tables.Table(variant, prepared["data"]["digest"], settings.lists)


def _stand_ins(settings: Settings, connection: Connection[Any]) -> tuple[list[str], dict[str, str]]:
    """The gated variants as this server can have them, and why each of the others is absent.

    Raises:
        ServiceUnavailable: it can have none of the gated ones.
    """
    gated: list[str] = []
    absent: dict[str, str] = {}
    for variant in (*settings.variants, *settings.controls):
        missing = server.lacks(connection, VARIANTS[variant]) or too_long(variant, settings.dim)
        if missing is None:
            gated += [variant] if variant in settings.variants else []
            continue
        absent[variant] = missing
        instead = over_float32(variant)
        if variant in settings.variants:
            lacking = server.lacks(connection, VARIANTS[instead]) or too_long(instead, settings.dim)
            if lacking is None:
                absent[variant] += f", so {instead}, the same index over float32, is gated instead"
                log.warning("%s", absent[variant])
            elif lacking != missing:
                absent[variant] += f", and {lacking}"
            gated.append(instead if lacking is None else variant)
    if all(variant in absent for variant in gated):
        reasons = "; ".join(dict.fromkeys(absent[variant] for variant in settings.variants))
        raise ServiceUnavailable(reasons, "use a newer pgvector there, or other variants or a smaller dim")
    return list(dict.fromkeys(gated)), absent


def tidy_up(step: Callable[[Connection[Any]], None]) -> None:
    """Leave nothing of ours on the server, if it is still there and no other run uses our tables."""
    try:
        with server.session("remove our tables") as connection:
            if locks.take(connection):
                step(connection)
            else:
                log.info("another run uses the tables; it removes them")
    except NightgateError as error:
        log.warning("tables of ours may be left in the schema %s (%s)", tables.SCHEMA, error)
