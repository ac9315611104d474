"""What runs in the child processes: tune and time one subject, put it under load.

Nothing but the search itself runs inside a timed call: queries are encoded before, and `Session.search` is bound once.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nightgate.errors import NightgateError
from nightgate.facts import Crowd, OpenLoop
from nightgate.measure import clients as crowds
from nightgate.measure.child import Turns
from nightgate.measure.clients import closed_loop_clients
from nightgate.measure.clock import time_calls
from nightgate.measure.load import Load, open_loop
from nightgate.vector_search.passes import Passes, time_passes
from nightgate.vector_search.session import Encoded, Facts, Ids, Proof, Session, Setting, Subject
from nightgate.vector_search.tuning import Tuned, Tuning, tune
from nightgate.vectors import recall
from nightgate.vectors.dataset import WARMUP, Dataset, open_dataset
from nightgate.vectors.places import open_places
from nightgate.vectors.truth import open_truth

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger(__name__)

_CLIENT_WARMUP = 20
_SEED = 1


@dataclass(frozen=True)
class Work:
    """What is measured: ``subject``, asked for the ``k`` nearest in the data set of the folder ``vectors``, whose exact
    neighbours lie in ``truth``. At most ``warmup`` queries are asked before anything is timed."""

    subject: Subject
    vectors: Path
    truth: Path
    k: int
    warmup: int = WARMUP


@dataclass(frozen=True)
class QueriesRequest:
    """Time each query alone, as often as ``passes`` says, and count recall at each of ``depths``. ``setting`` None: find it."""

    work: Work
    setting: Setting | None
    tuning: Tuning
    passes: Passes
    depths: tuple[int, ...]


@dataclass(frozen=True)
class Timed:
    """``durations`` and ``beside`` int64 ns, (passes, queries), see `passes.Asked`; ``recalls``: depth → float64, (queries,);
    ``ids`` of the first pass, int64, (queries, k), -1 where an answer is missing, numbered as in the user's file if there is
    one.

    ``setting`` is the one that was timed, ``tuned`` how it was found, if it was looked for; ``first_touch_ns`` the time of
    the very first query.
    """

    setting: Setting
    tuned: Tuned | None
    first_touch_ns: int
    durations: np.ndarray
    recalls: dict[int, np.ndarray]
    ids: np.ndarray
    proof: Proof
    warmed: Facts
    beside: np.ndarray


@dataclass(frozen=True)
class OpenLoopRequest:
    """Serve queries at ``rate`` per second for ``seconds``, one at a time."""

    work: Work
    setting: Setting
    rate: float
    seconds: float


@dataclass(frozen=True)
class OpenLoopAnswer:
    """``latencies``: int64 ns, one per query served, from the moment it was due."""

    facts: OpenLoop
    latencies: np.ndarray


@dataclass(frozen=True)
class ClientsRequest:
    """A closed loop of each of ``clients`` many sessions, ``seconds`` long each."""

    work: Work
    setting: Setting
    clients: tuple[int, ...]
    seconds: float


@dataclass(frozen=True)
class Level:
    """One number of clients; its rate is the mean over ``n`` stretches of time."""

    crowd: Crowd
    n: int


@dataclass(frozen=True)
class ClientsAnswer:
    """``failed``: None, or a sentence that says which number of clients could not be had and why; it ended the sweep."""

    sweep: list[Level]
    failed: str | None = None


def time_queries(request: QueriesRequest) -> Turns[Timed]:
    """Tune (unless a setting is given), warm up, time, and prove that it was the search that was meant.

    It can take turns with others: the first turn is all that comes before the timing; see `time_passes`.

    Raises:
        NotMeasured: what was prepared is not there, or something else was searched. ServiceUnavailable: a server went away.
    """
    work = request.work
    data, subject = open_dataset(work.vectors), work.subject
    queries, warmup = subject.encode(data.queries), subject.encode(data.warmup[: work.warmup])
    with subject.open(data, work.k) as session:
        session.check()
        session.tune(request.setting or session.settings[0], warmup[0])
        first, _ = time_calls(session.search, warmup[:1], passes=1)
        setting, tuned, warmed = _ready(session, request, data, warmup)
        found = yield from time_passes(session.search, queries, warmup, request.passes)
        proof = session.prove(queries[0])
    recalls = _recalls(found.answers, data, work.truth, request.depths)
    ids, places = rectangle(found.answers, work.k), open_places(work.vectors)
    ids = places.in_file_order(ids) if places else ids
    return Timed(setting, tuned, int(first[0, 0]), found.durations, recalls, ids, proof, warmed, found.beside)


def _ready(
    session: Session, request: QueriesRequest, data: Dataset, warmup: Encoded
) -> tuple[Setting, Tuned | None, Facts]:
    """Put the setting in force that is to be timed, found if it is not given; it, how it was found, and what was warmed."""
    work, setting, tuned = request.work, request.setting, None
    warmed: Facts = {}
    if setting is None:
        if found := session.warm(data.base):  # or the settings tried first would be timed on a cold server
            warmed["warmed_for_tuning"] = found
        tuning = work.subject.encode(data.tuning[: request.tuning.queries])
        tuned = tune(session, tuning, warmup, data, open_truth(work.truth, "tuning"), work.k, request.tuning)
        setting = tuned.setting
    session.tune(setting, warmup[0])
    if found := session.warm(data.base):
        warmed["warmed"] = found
    return setting, tuned, warmed


def open_loop_latency(request: OpenLoopRequest) -> OpenLoopAnswer:
    """The measured queries in turn, as a Poisson process, on one thread."""
    data = open_dataset(request.work.vectors)
    subject = request.work.subject
    queries, warmup = subject.encode(data.queries), subject.encode(data.warmup[: request.work.warmup])
    with subject.open(data, request.work.k) as session:
        session.tune(request.setting, warmup[0])
        search = session.search
        for query in warmup:
            search(query)
        load = open_loop(search, queries, request.rate, request.seconds, seed=_SEED)
    return OpenLoopAnswer(told_of(load, request.rate, request.seconds), load.latencies_ns)


def many_clients(request: ClientsRequest) -> ClientsAnswer:
    """Each number of clients in turn. One that cannot be had (a limit of connections) ends the sweep, and what was measured
    stays."""
    data, subject = open_dataset(request.work.vectors), request.work.subject
    queries, warmup = subject.encode(data.queries), subject.encode(data.warmup[:_CLIENT_WARMUP])
    connect = partial(one_client, subject, data, request.work.k, request.setting, warmup[0])
    sweep: list[Level] = []
    for clients in request.clients:
        try:
            crowd = closed_loop_clients(connect, queries, clients, request.seconds, warmup=warmup)
        except NightgateError as error:
            return ClientsAnswer(sweep, f"{clients} clients at once: {error}")
        sweep.append(_level(crowd))
        log.info("%d clients get %.0f answers per second", clients, sweep[-1].crowd.queries_per_second)
    return ClientsAnswer(sweep)


@contextmanager
def one_client(subject: Subject, data: Dataset, k: int, setting: Setting, first: Any) -> Iterator[Callable[[Any], Ids]]:
    """What a client of `measure.clients` calls: a session of its own under ``setting``. ``first``: an encoded query."""
    with subject.open(data, k) as session:
        session.tune(setting, first)
        yield session.search


def rectangle(answers: Sequence[Ids], k: int) -> np.ndarray:
    """The first k ids of each answer, int64, (answers, k), -1 where one is missing."""
    import numpy as np

    ids = np.full((len(answers), k), -1, np.int64)
    for row, answer in zip(ids, answers, strict=True):
        row[: min(len(answer), k)] = answer[:k]
    return ids


def told_of(load: Load, rate: float, seconds: float) -> OpenLoop:
    import numpy as np

    lateness = float(np.median(load.lateness_ns)) / 1e9 if len(load.lateness_ns) else None
    return OpenLoop(
        rate=rate,
        seconds=seconds,
        utilisation=load.utilisation,
        saturated=load.saturated,
        lateness_p50_seconds=lateness,
    )


def _recalls(answers: Sequence[Any], data: Dataset, truth: Path, depths: Sequence[int]) -> dict[int, np.ndarray]:
    exact, base, queries = open_truth(truth, "queries"), data.exact("base"), data.exact("queries")
    return {k: recall.per_query(list(answers), exact, base, queries, k, data.metric) for k in depths}


def _level(found: crowds.Crowd) -> Level:
    import numpy as np

    rate, n, ci95 = found.per_second()
    p50, p95 = (float(np.quantile(found.latencies_ns, q, method="higher")) / 1e9 for q in (0.50, 0.95))
    crowd = Crowd(clients=found.clients, queries_per_second=rate, ci95=ci95, latency_p50=p50, latency_p95=p95)
    return Level(crowd, n)
