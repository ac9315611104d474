"""What a night, and the watch over it, give people to know: kept in the store until they were told."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from nightgate import alerting, paths, registry
from nightgate.alerting import UNDECIDED_NIGHTS, News, Said
from nightgate.causes import Change, changes
from nightgate.environments import kept
from nightgate.environments.lock import Lock
from nightgate.publish import sentences
from nightgate.publish.rows import objective_rows
from nightgate.record import STORED, Record, Summary
from nightgate.regression.replay import Found, Regressed
from nightgate.results.beside import SeriesKey
from nightgate.results.store import Store
from nightgate.watching import NIGHTS, Looked

_CAUSES = 5


def of_night(store: Store, summary: Summary) -> list[News]:
    """What people were not told of yet, after the verdicts of a run; nothing of one that does not count."""
    if summary.standing != store.counting(summary.suite):
        return []
    found: dict[str, dict[str, Said]] = {"breach": {}, "undecided": {}}
    held: list[str] = []
    for record in summary.results:
        rows = {row["key"]: row for row in objective_rows([record])}
        for objective in record.objectives:
            key = SeriesKey(record.benchmark, record.variant, record.device, objective.metric)
            said = _said(sentences.of_objective(rows[tuple(key)]), key)
            if objective.verdict == "breach":
                found["breach"][_subject(key, record)] = said
            elif objective.verdict == "pass":
                held.append(_subject(key, record))
            elif objective.verdict == "inconclusive" and objective.nights >= UNDECIDED_NIGHTS:
                found["undecided"][_subject(key, record)] = said
    alerting.end(store, summary.suite, summary.run_id, ["breach", "undecided"], held)
    alerting.end(store, summary.suite, summary.run_id, ["undecided"], found["breach"])
    alerting.begin(store, summary.suite, summary.run_id, "breach", found["breach"])
    alerting.begin(store, summary.suite, summary.run_id, "undecided", found["undecided"])
    return alerting.news(store, summary.suite)


def of_watch(store: Store, looked: Looked) -> list[News]:
    """The same, after the watch over a night."""
    run, replayed = looked.run, looked.replayed
    if run.standing != store.counting(run.suite):
        return []
    records = {(record.benchmark, record.variant, record.device): record for record in looked.records}
    gone = [_subject(key, records[key[:3]]) for key in replayed.recovered if key[:3] in records]
    alerting.end(store, run.suite, run.run_id, ["regression"], gone)
    accepted = [_subject(key, records[key[:3]]) for key in looked.followed if key not in replayed.open]
    alerting.end(store, run.suite, run.run_id, ["regression"], accepted, known=True)
    found = {
        _subject(key, records[key[:3]]): regression_said(store, looked, one)
        for key, one in replayed.open.items()
        if one.found.run_id == run.run_id
    }
    alerting.begin(store, run.suite, run.run_id, "regression", found)
    return alerting.news(store, run.suite)


def regression_said(store: Store, looked: Looked, one: Regressed) -> Said:
    """A confirmed regression, with what may be its cause."""
    key = one.found.key
    causes = why(store, looked, key, one.since_run)
    sentence = f"{outcome(one.found)} Since {one.since[:10]} ({one.since_run})."
    return Said(
        sentence=sentence, causes=tuple(str(cause) for cause in causes[:_CAUSES]), **key._asdict(),
        ratio=_factor(one.found), since=one.since_run,
    )  # fmt: skip


def outcome(found: Found) -> str:
    """What came of a candidate, in a sentence."""
    key, spec = found.key, registry.spec(found.key.benchmark, found.key.metric)
    who = f"{registry.title(key.benchmark)}, {key.variant} on {key.device}: {spec.title}"
    if found.answer is None:
        return f"{who} lies {_percent(found.candidate.shift, spec.logarithmic)} from what is usual, and was not measured beside its control."
    ratio = _ratio(found)
    side = "worse" if found.answer.ratio > 0 else "better"
    beside = f"{_percent(found.answer.ratio, spec.logarithmic)} {side} than its control, measured in turns (95 % interval {_interval(ratio, spec.logarithmic)})"
    if found.answer.host:
        return f"{who} lies {_percent(found.candidate.shift, spec.logarithmic)} from what is usual, and so does its control: it is the host, {beside}."
    return f"{who} is {beside}." if found.answer.confirmed else f"{who} is not confirmed: {beside}."


def why(store: Store | None, looked: Looked, key: SeriesKey, since_run: str) -> list[Change]:
    """What changed between the night before a shift and this one, the likeliest cause first."""
    nights = [night.run_id for night in looked.followed[key].nights]
    first = nights.index(since_run)
    records = _records(store, nights[max(0, first - 1) :], key, looked)
    found = [records[run_id] for run_id in nights[max(0, first - 1) :] if run_id in records]
    return changes(found, 1, lock_finder(store, found)) if len(found) > 1 else []


def lock_finder(store: Store | None, records: Sequence[Record]) -> Callable[[str], Lock | None]:
    """Digest → the environment, by the store or by what is kept on this host."""
    digests = sorted({made for record in records if (made := record.facts.provenance.environment)})
    known: dict[str, Lock] = store.environments(digests) if store else {}

    def find(digest: str) -> Lock | None:
        return known.get(digest) or kept.find(paths.home(), digest)

    return find


_RECORDS = """
SELECT run_id, record - 'detail' FROM nightgate.results
WHERE (benchmark, variant, device) = (%s, %s, %s) AND run_id = ANY(%s) AND status = 'measured'
"""


def _records(store: Store | None, run_ids: Sequence[str], key: SeriesKey, looked: Looked) -> Mapping[str, Record]:
    if store is None:
        return {}
    rows = store.rows(_RECORDS, (key.benchmark, key.variant, key.device, list(run_ids)[-NIGHTS:]))
    return {run_id: Record.model_validate(record, context=STORED) for run_id, record in rows}


def _subject(key: SeriesKey, record: Record) -> str:
    return f"{key}@{record.host.fingerprint if record.host else ''}"


def _said(sentence: str, key: SeriesKey) -> Said:
    return Said(sentence=sentence, **key._asdict())


def _ratio(found: Found) -> tuple[float, float]:
    answer = found.answer
    assert answer is not None
    return answer.ratio - 1.96 * answer.error, answer.ratio + 1.96 * answer.error


def _factor(found: Found) -> float | None:
    return math.exp(found.answer.ratio) if found.answer else None


def _percent(value: float, logarithmic: bool) -> str:
    return f"{100 * abs(math.expm1(value)):.1f} %" if logarithmic else f"{100 * abs(value):.1f} points"


def _interval(ends: tuple[float, float], logarithmic: bool) -> str:
    low, high = (math.expm1(end) if logarithmic else end for end in ends)
    return f"{100 * low:+.1f} to {100 * high:+.1f} {'%' if logarithmic else 'points'}"
