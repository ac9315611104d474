"""Each breach of an objective as an annotation on the dashboard, once.

Grafana adds an annotation every time it is asked to, so what is there is read first and found by its tags. Grafana cuts
the value of a tag at its second ":" and refuses more than 100 bytes, so a run id is written into one without either.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable
from dataclasses import dataclass

from nightgate.publish import figures, sentences
from nightgate.publish.grafana.client import Client, Params
from nightgate.publish.grafana.errors import GrafanaError
from nightgate.publish.jsonvalue import JsonObject, texts
from nightgate.publish.rows import objective_rows
from nightgate.record import Summary

log = logging.getLogger(__name__)

_KIND = ("nightgate", "breach")
_TAG_LIMIT = 100
_TRIES = 3
_PAGE = 10_000


@dataclass(frozen=True, slots=True)
class Annotation:
    """One breach: when the run was, in milliseconds since 1970, what to read, and the tags it is found by."""

    time: int
    time_end: int
    text: str
    tags: tuple[str, ...]


def of_run(summary: Summary) -> list[Annotation]:
    """An annotation for each breached objective of a run."""
    start, end = (round(figures.epoch(moment) * 1000) for moment in (summary.started_at, summary.finished_at))
    breaches = []
    for row in objective_rows(summary.results):
        if row["verdict"] != "breach":
            continue
        benchmark, variant, device, metric = row["key"]
        named = (("run", summary.run_id), ("test", f"{benchmark}.{variant}.{device}"), ("metric", metric))
        text = f"{sentences.of_objective(row)} Run {summary.run_id}"
        breaches.append(Annotation(start, end, text, (*_KIND, *(_tag(key, value) for key, value in named))))
    return breaches


def annotate(client: Client, uid: str, wanted: Iterable[Annotation]) -> int:
    """Put those annotations on the dashboard ``uid`` that are not there yet; returns how many were missing.

    Raises:
        GrafanaError: not all of them could be put there; the next call goes on.
    """
    wanted = list(wanted)
    if not wanted:
        return 0
    try:
        there = _there(client, uid, min(each.time for each in wanted), max(each.time_end for each in wanted))
        missing = [each for each in wanted if frozenset(each.tags) not in there]
        for each in missing:
            _post(client, uid, each)
    except GrafanaError as error:
        if not error.gone:
            raise
        step = f"look whether the dashboard {uid} is there, and whether this Grafana still has /api/annotations"
        raise GrafanaError(error.what, step, error.status) from None
    return len(missing)


def _there(client: Client, uid: str, start: int, end: int) -> set[frozenset[str]]:
    """The tags of our annotations on a dashboard between two times, in milliseconds."""
    asked: Params = {"tags": list(_KIND), "dashboardUID": uid, "limit": _PAGE, "from": start, "to": end}
    answer = client.listed("/api/annotations", "annotations:read", params=asked)
    return {frozenset(texts(each, "tags")) for each in answer or []}


def _post(client: Client, uid: str, each: Annotation) -> None:
    body: JsonObject = {
        "dashboardUID": uid,
        "time": each.time,
        "timeEnd": each.time_end,
        "tags": list(each.tags),
        "text": each.text,
    }
    for number in range(1, _TRIES + 1):
        try:
            client.write("POST", "/api/annotations", body, "annotations:create")
            return
        except GrafanaError as error:
            if not error.unsure or number == _TRIES:
                raise
        client.pause(number)
        if frozenset(each.tags) in _there(client, uid, each.time, each.time_end):
            return


def _tag(key: str, value: str) -> str:
    value = value.replace(":", "-")
    if len(value.encode()) > _TAG_LIMIT:
        value = f"{value[:80]}-{hashlib.sha256(value.encode()).hexdigest()[:12]}"
    return f"{key}:{value}"
