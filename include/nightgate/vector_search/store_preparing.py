"""The collection and index of every variant, on the server before anything is timed; and nothing left there afterwards."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import Any

from pydantic import Field

from nightgate.benchmark import Context
from nightgate.errors import NightgateError, ServiceUnavailable
from nightgate.measure import host
from nightgate.measure.ending import like_ctrl_c
from nightgate.vector_search.store import Address, Built, VectorStore
from nightgate.vector_search.store_settings import StoreSettings
from nightgate.vectors import data
from nightgate.vectors.dataset import open_dataset
from nightgate.vectors.prepared import PreparedData

log = logging.getLogger(__name__)

Store = VectorStore[Any, Any]


class StorePrepared(PreparedData):
    """``gated``: the variants that are, where one that the server lacks is replaced by one like it, which stands
    ``instead_of`` it; ``absent``: variant →
    why it cannot be there; ``failed``: variant → why its collection could not be built; ``built``: how the others were."""

    gated: tuple[str, ...]
    instead_of: dict[str, str] = Field(default_factory=dict)
    absent: dict[str, str] = Field(default_factory=dict)
    failed: dict[str, str] = Field(default_factory=dict)
    built: dict[str, Built] = Field(default_factory=dict)

    def measured(self, settings: StoreSettings) -> list[str]:
        """The variants that are on the server, or should be."""
        wanted = dict.fromkeys([*self.gated, *settings.controls])
        return [variant for variant in wanted if variant not in self.absent]


def prepare(store: Store, address: Address, settings: StoreSettings, context: Context) -> StorePrepared:
    """See `StoreBenchmark.prepare`."""
    with store.connect(address, "be prepared", required=settings.require_service) as connection:
        store.lock(connection)  # two runs that prepare it at once would collide
        store.begin(connection)
        gated, instead_of, absent = _stand_ins(store, settings, connection)
    found = data.prepare(context.cache, source=settings.source, threads=os.cpu_count() or 1)
    prepared = StorePrepared(**dict(found), gated=gated, instead_of=instead_of, absent=absent)
    with like_ctrl_c():
        try:
            return _load(store, address, settings, prepared)
        except BaseException:
            kept = address.ours if settings.keep is None else settings.keep
            tidy_up(store, address, store.drop_drafts if kept else store.remove)
            raise


def tidy_up(store: Store, address: Address, step: Callable[[Any], None]) -> None:
    """Leave nothing of ours on the server, if it is still there and no other run uses it."""
    try:
        with store.connect(address, "remove what was loaded") as connection:
            if store.try_lock(connection):
                step(connection)
            else:
                log.info("another run uses what was loaded; it removes it")
    except NightgateError as error:
        log.warning("collections of ours may be left on the %s server (%s)", store.title, error)


def _load(store: Store, address: Address, settings: StoreSettings, prepared: StorePrepared) -> StorePrepared:
    """Load and index each variant. One that cannot be built is noted, and the next is loaded.

    Raises:
        NightgateError: the last of the gated variants could not be built either.
    """
    base = open_dataset(prepared.vectors).base
    gated = {variant for variant in prepared.gated if variant not in prepared.absent}
    built: dict[str, Built] = {}
    failed: dict[str, str] = {}
    for variant in prepared.measured(settings):
        collection = store.collection(variant, prepared.data, settings)
        try:
            with host.alone(), store.connect(address, "load and index the vectors") as connection:
                store.lock(connection)
                built[variant] = store.ensure(connection, address, collection, base, None)
        except NightgateError as error:
            log.error("%s: %s", variant, error)
            failed[variant] = str(error)
            gated.discard(variant)
            if not gated:
                raise
    return prepared.model_copy(update={"failed": failed, "built": built})


def _stand_ins(
    store: Store, settings: StoreSettings, connection: Any
) -> tuple[tuple[str, ...], dict[str, str], dict[str, str]]:
    """The gated variants as this server can have them, which stands in for which, and why each of the others is absent.

    Raises:
        ServiceUnavailable: it can have none of the gated ones.
    """
    shape = settings.shape()

    def missing(variant: str) -> str | None:
        return store.lacks(connection, variant) or store.too_much(variant, shape, settings)

    gated: list[str] = []
    instead_of: dict[str, str] = {}
    absent: dict[str, str] = {}
    for variant in (*settings.variants, *settings.controls):
        reason = missing(variant)
        if reason is None:
            gated += [variant] if variant in settings.variants else []
            continue
        absent[variant] = reason
        if variant not in settings.variants:
            continue
        instead = store.instead(variant)
        lacking = missing(instead) if instead else reason
        if instead and lacking is None:
            absent[variant] += f", so {instead}, the same index over float32, is gated instead"
            log.warning("%s", absent[variant])
            if instead not in settings.variants:
                instead_of[instead] = variant
        elif lacking != reason:
            absent[variant] += f", and {lacking}"
        gated.append(instead if instead and lacking is None else variant)
    if all(variant in absent for variant in gated):
        reasons = "; ".join(dict.fromkeys(absent[variant] for variant in settings.variants))
        raise ServiceUnavailable(reasons, f"use a newer {store.title} there, or other variants or a smaller dim")
    return tuple(dict.fromkeys(gated)), instead_of, absent
