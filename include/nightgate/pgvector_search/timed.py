"""What runs in the child processes: tune and time one variant, put it under load, meet it cold."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import Any

from nightgate.errors import NightgateError
from nightgate.measure.clients import Crowd, closed_loop_clients
from nightgate.measure.clock import time_calls
from nightgate.measure.load import open_loop
from nightgate.pgvector_search import plan, server
from nightgate.pgvector_search.asking import Asker, asker, one_client, parameters, rectangle
from nightgate.pgvector_search.settings import K
from nightgate.pgvector_search.tables import Table, require_rows
from nightgate.pgvector_search.warming import warm
from nightgate.vectors import recall, tuning
from nightgate.vectors.dataset import Dataset, open_dataset
from nightgate.vectors.latency import open_loop_answer
from nightgate.vectors.truth import Truth, open_truth

log = logging.getLogger(__name__)

_TUNING_WARMUP = 20
_AT_ONCE = 100
_SURE = 3.3  # standard errors: so far off the mark is one such set of queries in two thousand
_COLD = 20
_LOAD_WARMUP = 20


def search(request: dict[str, Any]) -> dict[str, Any]:
    """Tune (unless ``setting`` is given), warm up, check the plan, then time each query alone, ``passes`` times over.

    Saves ``durations`` (int64 ns, (passes, queries)), ``ids`` (int64, (queries, 5), -1 where an answer is missing)
    and ``recall`` (float64, (queries,)) as ``.npy`` in ``request["folder"]``.

    Returns:
        ``setting``; where it was looked for ``tuned``: ``reached`` (the target with its margin) and the ``curve``;
        ``warmed`` and, where it was tuned, ``warmed_for_tuning`` (see `warming.warm`); ``statement``, ``plan``,
        ``planner_chose_index`` (else sequential scans were forbidden), ``session`` (what was set), ``notices``, and
        `server.facts`.

    Raises:
        NotMeasured: the table is not what it should be, or the plan is not an index scan.
        ServiceUnavailable: the server is gone.
    """
    import numpy as np

    data, table = _data_and_table(request)
    with asker(table) as session:
        require_rows(session.connection, table, len(data.base))
        queries, warmup = parameters(table, data.queries), parameters(table, data.warmup)
        setting, tuned, warmed_for_tuning = request["setting"], None, None
        if setting is None:
            session.use({table.knob_name: table.kind.steps[0]}, warmup[0])
            warmed_for_tuning = warm(session, data.base)  # or the settings tried first would be timed on a cold server
            tuned = _tune(session, data, open_truth(Path(request["truth"]), "tuning"), request)
            setting = tuned.setting
        session.use(setting, warmup[0])
        warmed = warm(session, data.base)
        log.info("%s: timing %d queries, %d passes", table.variant, len(queries), request["passes"])
        durations, found = time_calls(session.ask, queries, passes=request["passes"], warmup=warmup)
        proof = plan.evidence(session.connection, session.prepared, queries[0], table.index)
        facts = server.facts(session.connection)
    exact = open_truth(Path(request["truth"]), "queries")
    reached = recall.per_query(found, exact, data.exact("base"), data.exact("queries"), K, data.metric)
    for name, array in {"durations": durations, "ids": rectangle(found), "recall": reached}.items():
        np.save(Path(request["folder"], f"{name}.npy"), array)
    return {
        "setting": setting, "tuned": tuned and {"reached": tuned.reached, "curve": tuned.curve}, "warmed": warmed,
        "warmed_for_tuning": warmed_for_tuning,
        "statement": session.prepared, "plan": proof, "planner_chose_index": session.planner_chose_index,
        "session": session.changed, "notices": session.notices, **facts,
    }  # fmt: skip


def open_loop_latency(request: dict[str, Any]) -> dict[str, Any]:
    """Serve queries at ``request["rate"]`` per second for ``request["seconds"]``, over one connection.

    Saves ``latencies`` (int64 ns, one per query served) as ``.npy``.
    """
    import numpy as np

    data, table = _data_and_table(request)
    with asker(table) as session:
        warmup = parameters(table, data.warmup[:_LOAD_WARMUP])
        session.use(request["setting"], warmup[0])
        for query in warmup:
            session.ask(query)
        load = open_loop(session.ask, parameters(table, data.queries), request["rate"], request["seconds"], seed=1)
    np.save(Path(request["folder"], "latencies.npy"), load.latencies_ns)
    return open_loop_answer(load)


def many_clients(request: dict[str, Any]) -> dict[str, Any]:
    """A closed loop of each of ``request["clients"]`` many connections, ``request["seconds"]`` long each.

    A number of clients that cannot be had (a role's CONNECTION LIMIT) ends the sweep, and what was measured stays.

    Returns:
        ``sweep``: per number of clients ``queries_per_second`` with its ``ci95`` and ``n``, ``latency_p50``, ``latency_p95``;
        ``failed``: None, or a sentence that says which number of clients failed and why.
    """
    data, table = _data_and_table(request)
    queries, warmup = parameters(table, data.queries), parameters(table, data.warmup[:_LOAD_WARMUP])
    connect = partial(one_client, table, request["setting"], data.warmup[0])
    sweep = []
    for clients in request["clients"]:
        try:
            crowd = closed_loop_clients(connect, queries, clients, request["seconds"], warmup=warmup)
        except NightgateError as error:
            return {"sweep": sweep, "failed": f"{clients} clients at once: {error}"}
        sweep.append(_said(crowd))
        log.info("%s: %d clients get %.0f answers per second", table.variant, clients, sweep[-1]["queries_per_second"])
    return {"sweep": sweep, "failed": None}


def cold_start(request: dict[str, Any]) -> dict[str, Any]:
    """The first queries of the first session on a server that has just started: ``durations_ns``, one per query."""
    data, table = _data_and_table(request)
    with asker(table) as session:
        queries = parameters(table, data.queries[:_COLD])
        session.put(request["setting"])
        durations, _ = time_calls(session.ask, queries, passes=1)
        plan.evidence(session.connection, session.prepared, queries[0], table.index)
    return {"durations_ns": durations[0].tolist()}


def _data_and_table(request: dict[str, Any]) -> tuple[Dataset, Table]:
    return open_dataset(Path(request["vectors"])), Table(request["variant"], request["digest"], request["lists"])


def _tune(session: Asker, data: Dataset, truth: Truth, request: dict[str, Any]) -> tuning.Tuned:
    """The cheapest setting that reaches the recall target, and what every setting up to it gives and takes."""
    table, (target, margin) = session.table, (request["recall_target"], request["recall_margin"])
    queries = parameters(table, data.tuning[: request["tuning_queries"]])
    warmup = parameters(table, data.warmup[:_TUNING_WARMUP])

    def measure(setting: dict[str, int]) -> dict[str, Any]:
        session.use(setting, warmup[0])
        for query in warmup:
            session.ask(query)
        return _point(session.ask, queries, data, truth, target + margin)

    settings = [{table.knob_name: step} for step in table.kind.fits(table.lists_of_index)]
    return tuning.cheapest(settings, measure, target, margin)


def _point(ask: Any, queries: list[Any], data: Dataset, truth: Truth, wanted: float) -> dict[str, Any]:
    """Recall and latency of one setting: on all tuning queries, or on fewer when those show that it falls short."""
    import numpy as np

    durations, reached = [], []
    for start in range(0, len(queries), _AT_ONCE):
        some = slice(start, min(start + _AT_ONCE, len(queries)))  # of the others, too, no more than are asked
        spent, found = time_calls(ask, queries[some], passes=1)
        durations.append(spent[0])
        part = Truth(truth.ids[some])
        reached.append(recall.per_query(found, part, data.exact("base"), data.exact("tuning")[some], K, data.metric))
        so_far = np.concatenate(reached)
        if so_far.mean() + _SURE * so_far.std(ddof=1) / len(so_far) ** 0.5 < wanted:
            break
    seconds = np.concatenate(durations) / 1e9
    p50, p95 = (float(np.quantile(seconds, q, method="higher")) for q in (0.50, 0.95))
    return {"recall": float(so_far.mean()), "latency_p50": p50, "latency_p95": p95, "queries": len(so_far)}


def _said(crowd: Crowd) -> dict[str, Any]:
    import numpy as np

    rate, n, ci95 = crowd.per_second()
    p50, p95 = (float(np.quantile(crowd.latencies_ns, q, method="higher")) / 1e9 for q in (0.50, 0.95))
    return {
        "clients": crowd.clients, "queries_per_second": rate, "ci95": ci95, "n": n, "latency_p50": p50, "latency_p95": p95,
    }  # fmt: skip
