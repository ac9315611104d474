"""The benchmark of a vector store: how well and how fast a server answers for the k nearest rows."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nightgate.benchmark import Context
from nightgate.errors import InputError, ServiceUnavailable, Unavailable
from nightgate.measure.ending import like_ctrl_c
from nightgate.record import Record
from nightgate.vector_search import store_measuring, store_preparing
from nightgate.vector_search.benchmark import VectorBenchmark
from nightgate.vector_search.metrics import (
    COLD_START_FIRST,
    COLD_START_P50,
    HEADLINES,
    OF_A_STORE,
    OPEN_LOOP_LATENCY,
    RECALL,
    THROUGHPUT,
)
from nightgate.vector_search.settings import Shape
from nightgate.vector_search.store import Address, VectorStore
from nightgate.vector_search.store_preparing import StorePrepared, tidy_up
from nightgate.vector_search.store_settings import StoreSettings

log = logging.getLogger(__name__)

_UNDER_LOAD = frozenset(spec.name for spec in (*OPEN_LOOP_LATENCY.values(), THROUGHPUT))
_COLD = frozenset((COLD_START_FIRST.name, COLD_START_P50.name))


class StoreBenchmark(VectorBenchmark[StoreSettings, StorePrepared]):
    """``store`` as the platform knows it."""

    devices = ("cpu",)
    prepared = StorePrepared
    metrics = OF_A_STORE

    def __init__(self, store: VectorStore[Any, Any]) -> None:
        self.store = store
        self.name = f"{store.name}_search"
        self.title = f"{store.title} search"
        self.settings = store.settings
        self.services = (store.service,)
        self.headlines = (RECALL[store.settings.model_fields["k"].default].name, *HEADLINES)

    def prepare(self, settings: StoreSettings, context: Context) -> StorePrepared:
        """The data set, its exact neighbours, and a loaded and indexed collection per variant; what stands is reused. What
        fails as a whole leaves no collection behind, unless these are kept.

        Raises:
            Unavailable: the device is "gpu", or there is no server (ServiceUnavailable when the settings require one).
            InputError: the store cannot hold such vectors, or the user's data set cannot be used.
            ServiceUnavailable: the server refuses, went away, or lacks what all the gated variants need.
        """
        if context.device == "gpu":
            raise Unavailable(f"{self.store.title} searches on the CPU", "measure it on the cpu device")
        address = self._address(context.services)
        if not address.url:
            absent = ServiceUnavailable if settings.require_service else Unavailable
            variable = self.store.service.variable
            raise absent(f"{variable} is not set", f"set {variable} to the address of a {self.store.title} server")
        self._require_fit(settings)
        return store_preparing.prepare(self.store, address, settings, context)

    def measure(self, settings: StoreSettings, prepared: StorePrepared, context: Context) -> list[Record]:
        """One record per variant. A variant that fails is recorded as failed, and the next one is measured.

        A collection that another run dropped in the meantime is loaded again. Those that are not kept are removed at the
        end; beside another environment, which may still need them, by whoever started both (`tidy`).
        """
        address = self._address(context.services)
        with like_ctrl_c():
            try:
                return store_measuring.measure(self, self.store, address, settings, prepared, context)
            finally:
                if not context.in_turns:
                    self.tidy(settings, context)

    def to_confirm(self, settings: StoreSettings, metrics: Sequence[str]) -> StoreSettings:
        """Load and cold start are measured again where one of ``metrics`` comes of them."""
        again = {
            "load_seconds": settings.load_seconds if _UNDER_LOAD.intersection(metrics) else 0.0,
            "cold_start": settings.cold_start and bool(_COLD.intersection(metrics)),
        }
        return super().to_confirm(settings, metrics).model_copy(update=again)

    def tidy(self, settings: StoreSettings, context: Context) -> None:
        """Remove what a run that ended between `prepare` and `measure` has left on the server, unless it is to be kept."""
        address = self._address(context.services)
        if address.url and not keeps(settings, address):
            tidy_up(self.store, address, self.store.remove)

    def may_gate(self, settings: StoreSettings) -> tuple[str, ...]:
        gated = super().may_gate(settings)
        return tuple(dict.fromkeys([*gated, *(one for one in map(self.store.instead, gated) if one)]))

    def look(self, settings: StoreSettings, services: Mapping[str, str]) -> Shape:
        """What will be searched; whether the address is one, and whether the store can hold such vectors.

        Raises:
            InputError: one of both is not so, or as `own.inspect`.
        """
        if url := self._address(services).url:
            self.store.look(url)
        return self._require_fit(settings)

    def findings(self, services: Mapping[str, str]) -> Iterator[tuple[bool, str]]:
        yield from self.store.findings(self._address(services))

    def _address(self, services: Mapping[str, str]) -> Address:
        service = self.store.service
        named = services.get(service.name)
        if named is None:
            named = os.environ.get(service.variable, "").strip() or os.environ.get(service.embedded or "", "").strip()
        return self.store.address(named)

    def _require_fit(self, settings: StoreSettings) -> Shape:
        """What will be searched, if the gated variants can hold it; a control that cannot is skipped with the reason."""
        shape = settings.shape()
        for variant in settings.variants:
            if reason := self.store.too_much(variant, shape, settings):
                fitting = [name for name in self.store.variants if self.store.too_much(name, shape, settings) is None]
                step = (
                    f"use one of {', '.join(fitting)}, or fewer dimensions" if fitting else "measure another data set"
                )
                raise InputError(f"{self.name}.variants: {variant} cannot be built: {reason}", step)
        return shape


def keeps(settings: StoreSettings, address: Address) -> bool:
    """Whether what is loaded stays, ``keep`` and the server considered."""
    return address.ours if settings.keep is None else settings.keep


def of_each(stores: Mapping[str, VectorStore[Any, Any]]) -> dict[str, StoreBenchmark]:
    """The benchmark of each of ``stores``, by its own name."""
    found = (StoreBenchmark(store() if isinstance(store, type) else store) for store in stores.values())
    return {benchmark.name: benchmark for benchmark in found}
