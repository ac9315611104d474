"""Each variant of a store timed alone; the gated ones under load and cold as well."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from nightgate import paths
from nightgate.benchmark import Context
from nightgate.errors import NightgateError, NotMeasured
from nightgate.measure import host, pace
from nightgate.measure.child import ChildResult, run_child
from nightgate.measure.clock import time_calls
from nightgate.measure.turns import Ask, run_in_turns
from nightgate.record import Record
from nightgate.vector_search.asking import Asking
from nightgate.vector_search.benchmark import VectorBenchmark, finish
from nightgate.vector_search.evidence import Evidence, keep_rounds
from nightgate.vector_search.metrics import BUILD_SECONDS, INDEX_BYTES, LOAD_SECONDS, ROWS_PER_SECOND
from nightgate.vector_search.passes import Passes
from nightgate.vector_search.session import Encoded, Setting
from nightgate.vector_search.store import Address, Built, Collection, KeptTuning, StoreSession, TunedFor, VectorStore
from nightgate.vector_search.store_preparing import StorePrepared
from nightgate.vector_search.store_settings import StoreSettings
from nightgate.vector_search.timed import Timed, Work
from nightgate.vector_search.tuning import Tuned, Tuning
from nightgate.vectors.dataset import MOST_TUNING, Dataset, open_dataset

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    import numpy as np

log = logging.getLogger(__name__)

_SLOWEST_QUERY = 0.5  # seconds; a child slower than this on average is given up
_TUNING_OF_CONTROLS = 200
_TUNING_WARMUP = 20
_WARMUP = 50  # queries: the server's memory is warm by then, and the session is soon
_A_TURN, _WARM_AGAIN = 20, 1  # queries: some tens of milliseconds, or with long queries some tenths of a second
_TRIES = 5_000  # queries that tuning and warming ask at most
_COLD = 20

Store = VectorStore[Any, Any]
Benchmark = VectorBenchmark[StoreSettings, StorePrepared]


@dataclass(frozen=True)
class OnServer:
    """A collection of a store as a subject."""

    store: Store
    address: Address
    collection: Collection

    def encode(self, queries: np.ndarray) -> Encoded:
        return self.store.encode(self.collection, queries)

    def open(self, data: Dataset, k: int) -> AbstractContextManager[StoreSession]:
        return self.store.open(self.address, self.collection, k)


@dataclass(frozen=True)
class ColdRequest:
    work: Work
    setting: Setting


def measure(
    benchmark: Benchmark,
    store: Store,
    address: Address,
    settings: StoreSettings,
    prepared: StorePrepared,
    context: Context,
) -> list[Record]:
    """See `StoreBenchmark.measure`."""
    evidence = partial(benchmark.evidence, settings, prepared=prepared, context=context)
    measuring = _Measuring(store, address, settings, prepared, fresh=context.fresh > 0, beside=context.in_turns)
    found = [evidence(variant, gated=variant in prepared.gated) for variant in prepared.measured(settings)]
    for one in found:
        one.record.instead_of = prepared.instead_of.get(one.variant)
    measuring.all(found)
    for one in found:
        if one.gated and settings.cold_start and address.ours and store.restarts:
            one.beside("the cold start", measuring.cold_start)
    finish(found, prepared, context.samples)
    records = [one.record for one in found]
    for one in found:
        if one.record.status == "measured" and (better := store.explain(one.record, records)):
            one.record.reason = "; ".join([better, *one.missed])
    lacking = {variant: evidence(variant, gated=variant in prepared.gated) for variant in prepared.absent}
    return [*records, *(_absent(one, prepared.absent[variant]) for variant, one in lacking.items())]


def cold_start(request: ColdRequest) -> np.ndarray:
    """In a child: the first queries of the first session on a server that has just started, int64 ns, (queries,)."""
    work = request.work
    data = open_dataset(work.vectors)
    queries = work.subject.encode(data.queries[:_COLD])
    with work.subject.open(data, work.k) as session:
        session.tune(request.setting, None)
        durations, _ = time_calls(session.search, queries, passes=1)
        session.prove(queries[0])
    asked: np.ndarray = durations[0]
    return asked


class _Measuring:
    """The steps of one measurement of a store. ``fresh``: the gated variants get an index that is built for it. ``beside``: another
    environment measures meanwhile, so that also one variant alone takes turns."""

    def __init__(
        self,
        store: Store,
        address: Address,
        settings: StoreSettings,
        prepared: StorePrepared,
        *,
        fresh: bool = False,
        beside: bool = False,
    ) -> None:
        self.store, self.address, self.settings, self.prepared = store, address, settings, prepared
        self.fresh, self.beside = fresh, beside
        self.base = open_dataset(prepared.vectors).base
        self._built: dict[str, Built] = {}

    def all(self, found: Sequence[Evidence]) -> None:
        """Everything but the cold start, while nobody else can load. Once a variant is timed, nothing that follows can
        fail it."""
        try:
            with self.store.connect(self.address, "hold what was loaded") as connection:
                if self.beside:  # the other environment holds what was loaded for both, and neither may load
                    self.store.share(connection)
                    for one in found:
                        one.attempt(partial(self._standing, connection=connection))
                else:
                    self.store.lock(connection)
                    for one in found:
                        one.attempt(self._stand)
                    self.store.share(connection)
                self._time([one for one in found if one.record.status == "measured"], connection)
                for one in found:
                    if one.gated and self.settings.load_seconds and one.record.status == "measured":
                        self._load(one)
        except NightgateError as error:  # of the connection that keeps the others away
            for one in found:
                if one.record.status == "measured" and one.setting is None:
                    one.fail(str(error))

    def _standing(self, one: Evidence, connection: Any) -> None:
        """Take its collection as it stands."""
        if reason := self.prepared.failed.get(one.variant):
            raise NotMeasured(f"its vectors could not be prepared: {reason}")
        made = self.prepared.built.get(one.variant)
        found = self.store.standing(connection, self._collection(one.variant), self.base, made)
        if found is None:
            raise NotMeasured("what was loaded for both environments is gone", "measure both once more")
        self._built[one.variant] = found
        _add_costs(one, found, made, indexed=False)

    def _stand(self, one: Evidence) -> None:
        """Bring its collection to the server, unless it stands there; the lock is held already."""
        store, variant, made = self.store, one.variant, self.prepared.built.get(one.variant)
        if reason := self.prepared.failed.get(variant):
            raise NotMeasured(f"its vectors could not be prepared: {reason}")
        collection = self._collection(variant)
        with store.connect(self.address, "load and index the vectors") as connection:
            built = store.ensure(connection, self.address, collection, self.base, made)
            if anew := self.fresh and one.gated and built.reused and not _just_made(built, made):
                built = store.reindex(connection, self.address, collection, self.base, built)
        self._built[variant] = built
        _add_costs(one, built, made, indexed=anew)

    def _time(self, ready: Sequence[Evidence], connection: Any) -> None:
        """Time the queries of what is ``ready``, in turns where the server's memory holds all of it."""
        log.info("queries one by one: %s", ", ".join(one.variant for one in ready))
        timeout = sum(self._patience(one) for one in ready)
        if (len(ready) > 1 or self.beside) and self.store.together(
            connection, [self._collection(one.variant) for one in ready]
        ):
            asks = [self._to_time(one, in_turns=True) for one in ready]
            keep = self.store.keep_variables
            answers: Sequence[ChildResult[Timed] | NightgateError | None]
            answers = run_in_turns(asks, threads=1, timeout=timeout, keep=keep)
        else:
            answers = [None] * len(ready)
        for one, answer in zip(ready, answers, strict=True):
            one.precision = self.settings.precision
            if others := ", ".join(other.variant for other in ready if other is not one):
                turns = f"every {_A_TURN} queries, with {others}"
                one.record.facts.turns = (
                    turns if answer else f"one after the other: the server's memory does not hold all, with {others}"
                )
            one.attempt(partial(self._timed, answer=answer))
            if one.record.status == "measured":
                self._remember(one, connection)
        keep_rounds([one for one in ready if one.record.status == "measured"], 1)

    def _timed(self, one: Evidence, answer: ChildResult[Timed] | NightgateError | None) -> None:
        """Take ``answer``, or ask for it alone."""
        if answer is None:
            ask = self._to_time(one)
            answer = run_child(
                ask.function, ask.request, threads=1, timeout=self._patience(one), keep=self.store.keep_variables
            )
        self._asking(one).timed(one, answer)

    def _to_time(self, one: Evidence, *, in_turns: bool = False) -> Ask[Timed]:
        settings, known = self.settings, self._known(one)
        least = settings.passes if one.gated else settings.control_passes
        passes = Passes(
            least,
            max(least, settings.most_passes) if one.gated else least,
            settings.precision,
            a_turn=_A_TURN if in_turns else 0,
            warm_again=_WARM_AGAIN if in_turns else 0,
            fastest_ns=min(pace.known(paths.home()), default=None),
        )
        tuning = Tuning(
            settings.recall_target,
            settings.recall_margin,
            MOST_TUNING if one.gated else _TUNING_OF_CONTROLS,
            _TUNING_WARMUP,
            give_up_early=True,
        )
        return self._asking(one).to_time(one, tuning, passes, known.setting if known else None)

    def _patience(self, one: Evidence) -> float:
        """Seconds after which timing it is given up."""
        settings = self.settings
        passes = max(settings.passes, settings.most_passes) if one.gated else settings.control_passes
        return 600 + _SLOWEST_QUERY * (settings.queries * passes + _TRIES)

    def _known(self, one: Evidence) -> KeptTuning | None:
        """What was found before, of the same that is asked now."""
        kept = self._built[one.variant].tuning
        return kept if kept and kept.asked == self._tuned_for() else None

    def _remember(self, one: Evidence, connection: Any) -> None:
        """Keep what was tuned now with the collection, or say what was tuned before."""
        if tuned := one.timed.tuned:
            kept = KeptTuning(asked=self._tuned_for(), setting=tuned.setting, reached=tuned.reached, curve=tuned.curve)
            with_it = self._built[one.variant].model_copy(update={"tuning": kept})
            keep = partial(self.store.remember, connection, self._collection(one.variant), with_it)
            one.beside("keeping what was tuned", lambda _: keep())
        elif known := self._known(one):
            one.known = Tuned(known.setting, known.reached, known.curve)

    def _load(self, one: Evidence) -> None:
        asking, clients = self._asking(one), self.settings.clients
        timeout = 120 + 10 * self.settings.load_seconds * (1 + len(clients))
        one.beside("the open loop", partial(asking.open_loop, timeout=timeout))
        one.beside("the throughput", partial(asking.clients, clients=clients, timeout=timeout))

    def cold_start(self, one: Evidence) -> None:
        """The first queries after a restart: the server's own memory is empty, the files are still in the system's."""
        with self.store.connect(self.address, "be restarted") as connection:
            if not self.store.try_lock(connection):
                one.miss("the cold start", "another run uses the server")
                return
            log.info("%s: restarting the server for a cold start", one.variant)
            self.store.restart(connection, self.address)
        request = ColdRequest(self._asking(one).work, one.timed.setting)
        child = run_child(cold_start, request, threads=1, timeout=300, keep=self.store.keep_variables)
        one.add_cold_start(child.value)

    def _collection(self, variant: str) -> Collection:
        return self.store.collection(variant, self.prepared.data, self.settings)

    def _asking(self, one: Evidence) -> Asking:
        subject = OnServer(self.store, self.address, self._collection(one.variant))
        work = Work(subject, self.prepared.vectors, self.prepared.truth, self.settings.k, _WARMUP)
        return Asking(work, self.settings, keep=self.store.keep_variables, remote=True)

    def _tuned_for(self) -> TunedFor:
        settings = self.settings
        return TunedFor(
            recall_target=settings.recall_target,
            recall_margin=settings.recall_margin,
            k=settings.k,
            host=host.describe().fingerprint,
        )


def _add_costs(one: Evidence, built: Built, made: Built | None, *, indexed: bool) -> None:
    """Args: made: how this run found or made it when it prepared; indexed: whether its index was built just now."""
    one.costs = {
        LOAD_SECONDS: built.load_seconds,
        ROWS_PER_SECOND: built.rows_per_second,
        BUILD_SECONDS: built.build_seconds,
    }
    if built.index_bytes is not None:
        one.costs[INDEX_BYTES] = built.index_bytes
    if built.reused and not _just_made(built, made):
        of_the_index = () if indexed else (BUILD_SECONDS, INDEX_BYTES)
        days = dict.fromkeys((LOAD_SECONDS, ROWS_PER_SECOND), built.built_at) | dict.fromkeys(
            of_the_index, built.index_of
        )
        one.record.facts.earlier = {spec.name: day for spec, day in days.items() if spec in one.costs}
    one.record.facts.builds = {one.variant: built.build_id}
    one.tell({"build": built.model_dump(mode="json", exclude={"tuning"})})


def _just_made(built: Built, made: Built | None) -> bool:
    """Whether it was made when this run prepared."""
    return made is not None and not made.reused and made.built_at == built.built_at


def _absent(one: Evidence, reason: str) -> Record:
    """A record for what the server lacks; what an objective gates must not go missing quietly."""
    record = one.record
    record.status, record.reason = "failed" if one.gated else "skipped", reason
    record.samples, record.finished_at = None, record.started_at
    return record
