"""How many queries are answered per second when they come in batches: of one size for long, or of each size in turn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nightgate.errors import NotMeasured
from nightgate.measure.load import closed_loop
from nightgate.vector_search.in_process import tuned
from nightgate.vector_search.latency import rate
from nightgate.vector_search.session import Ids, Setting
from nightgate.vector_search.strategy import SearchesMany
from nightgate.vector_search.timed import Work
from nightgate.vectors import recall
from nightgate.vectors.dataset import Dataset
from nightgate.vectors.truth import open_truth

if TYPE_CHECKING:
    import numpy as np

BATCHES = (1, 10, 100, 1000)


@dataclass(frozen=True)
class BatchesRequest:
    """Hand over batches of ``batch`` queries, on ``threads`` threads, for at least ``seconds``."""

    work: Work
    setting: Setting
    threads: int
    batch: int
    seconds: float


@dataclass(frozen=True)
class SweepRequest:
    """Hand over batches of each of `BATCHES`, on ``threads`` threads, for at least ``seconds`` each."""

    work: Work
    setting: Setting
    threads: int
    seconds: float


@dataclass(frozen=True)
class BatchRate:
    """What one size of batch gives: ``per_second`` queries over ``passes`` passes, with a 95 % interval where these are
    enough to state one, and the ``recall`` of what is answered at that size, in [0, 1]."""

    batch: int
    per_second: float
    passes: int
    ci95: tuple[float, float] | None
    recall: float


def throughput(request: BatchesRequest) -> np.ndarray:
    """The queries per second of each pass over all measured queries, float64 (passes,).

    Raises:
        NotMeasured: the strategy answers no batches.
    """
    data, ask_many = _opened(request.work, request.setting, request.threads)
    subject = request.work.subject
    queries = subject.encode(data.queries)
    batches = [queries[start : start + request.batch] for start in range(0, len(queries), request.batch)]
    ask_many(subject.encode(data.warmup))
    found = closed_loop(ask_many, batches, request.seconds)
    per_second: np.ndarray = found.sizes.sum() / (found.durations_ns.sum(axis=1) / 1e9)
    return per_second


def sweep_batches(request: SweepRequest) -> list[BatchRate]:
    """The measured queries in batches of each size; see `sweep`."""
    import numpy as np

    work = request.work
    data, ask_many = _opened(work, request.setting, request.threads)
    truth, base, exact = open_truth(work.truth, "queries"), data.exact("base"), data.exact("queries")

    def recall_of(answers: list[Any]) -> float:
        return float(recall.per_query(answers, truth, base, exact, work.k, data.metric).mean())

    return sweep(ask_many, np.array(data.queries), recall_of, request.seconds, loop=closed_loop)


def sweep(
    ask_many: Callable[[Any], Sequence[Ids]],
    queries: np.ndarray,
    recall_of: Callable[[list[Any]], float],
    seconds: float,
    *,
    loop: Callable[..., Any] = closed_loop,
) -> list[BatchRate]:
    """Each size in turn, for at least ``seconds`` and one pass, after a pass that warms up and whose answers count.

    Args:
        queries: float32, (n, dim); repeated where a batch holds more.
        recall_of: of the answers to ``queries``, in their order.
    """
    import numpy as np

    found = []
    for size in BATCHES:
        asked = np.resize(queries, (max(len(queries), size), queries.shape[1]))
        batches = [asked[start : start + size] for start in range(0, len(asked), size)]
        answers = [answer for batch in batches for answer in ask_many(batch)]
        load = loop(ask_many, batches, seconds)
        value, passes, interval = rate(load.sizes.sum() / (load.durations_ns.sum(axis=1) / 1e9))
        found.append(BatchRate(size, value, passes, interval, recall_of(answers[: len(queries)])))
    return found


def _opened(work: Work, setting: Setting, threads: int) -> tuple[Dataset, Callable[[Any], Sequence[Ids]]]:
    data, strategy = tuned(work, setting)
    if not isinstance(strategy, SearchesMany):
        raise NotMeasured(f"{strategy.name} answers no batches (it has no search_many)")
    k, search_many = work.k, strategy.search_many

    def ask_many(batch: Any) -> Sequence[Ids]:
        return search_many(batch, k, threads)

    return data, ask_many
