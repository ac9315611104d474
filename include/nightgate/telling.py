"""What a night, and the watch over it, give people to know: kept in the store until they were told."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from nightgate import paths, registry
from nightgate.causes import Change, changes
from nightgate.environments import kept
from nightgate.environments.lock import Lock
from nightgate.metrics import MetricSpec
from nightgate.publish import sentences
from nightgate.publish.rows import objective_rows
from nightgate.record import STORED, Record, Summary
from nightgate.regression.replay import Found, Regressed
from nightgate.results import alerts
from nightgate.results.alerts import UNDECIDED_NIGHTS, News, Said, subject
from nightgate.results.beside import SeriesKey
from nightgate.results.store import Store
from nightgate.watching import NIGHTS, Looked

_CAUSES = 5
_NORMAL = 1.96


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
                found["breach"][_subject(key, record, summary.scale)] = said
            elif objective.verdict == "pass":
                held.append(_subject(key, record, summary.scale))
            elif objective.verdict == "inconclusive" and objective.nights >= UNDECIDED_NIGHTS:
                found["undecided"][_subject(key, record, summary.scale)] = said
    alerts.end(store, summary.suite, summary.run_id, ["breach", "undecided"], held)
    alerts.end(store, summary.suite, summary.run_id, ["undecided"], found["breach"])
    alerts.begin(store, summary.suite, summary.run_id, "breach", found["breach"])
    alerts.begin(store, summary.suite, summary.run_id, "undecided", found["undecided"])
    return alerts.news(store, summary.suite)


def of_watch(store: Store, looked: Looked) -> list[News]:
    """The same, after the watch over a night."""
    run, replayed = looked.run, looked.replayed
    if run.standing != store.counting(run.suite):
        return []
    records = {(record.benchmark, record.variant, record.device): record for record in looked.records}
    gone = [_subject(key, records[key[:3]], run.scale) for key in replayed.recovered if key[:3] in records]
    alerts.end(store, run.suite, run.run_id, ["regression"], gone)
    accepted = [_subject(key, records[key[:3]], run.scale) for key in looked.followed if key not in replayed.open]
    alerts.end(store, run.suite, run.run_id, ["regression"], accepted, known=True)
    found = {
        _subject(key, records[key[:3]], run.scale): regression_said(store, looked, one)
        for key, one in replayed.open.items()
        if one.found.run_id == run.run_id
    }
    alerts.begin(store, run.suite, run.run_id, "regression", found)
    return alerts.news(store, run.suite)


def regression_said(store: Store, looked: Looked, one: Regressed) -> Said:
    """A confirmed regression, with what may be its cause."""
    key = one.found.key
    causes = why(store, looked, key, one.since_run)
    sentence = f"{outcome(one.found)} Since {one.since[:10]} ({one.since_run})."
    return Said(
        sentence=sentence,
        causes=tuple(str(cause) for cause in causes[:_CAUSES]),
        **key._asdict(),
        ratio=_factor(one.found),
        since=one.since_run,
    )


def outcomes(looked: Looked) -> list[str]:
    """What came of each candidate of the night."""
    asked = {one.key: looked.measured.get((one.run_id, one.key)) for one in looked.replayed.tonight}
    return [outcome(one, found.why_not if (found := asked[one.key]) else None) for one in looked.replayed.tonight]


def standing_out(found: Found) -> str:
    """Of a candidate that is yet to be measured beside its control."""
    return f"{_who(found)} lies {_percent(found, found.candidate.shift)} from what is usual: it is measured beside its control."


def outcome(found: Found, why_not: str | None = None) -> str:
    """What came of a candidate, in a sentence.

    Args:
        why_not: why it was not measured beside its control.
    """
    usual = f"{_who(found)} lies {_percent(found, found.candidate.shift)} from what is usual"
    if found.answer is None:
        reason = f": {why_not.rstrip('.')}" if why_not else ""
        return f"{usual}, and was not measured beside its control{reason}."
    side = "worse" if found.answer.ratio > 0 else "better"
    beside = f"{_percent(found, found.answer.ratio)} {side} than its control, measured in turns (95 % interval {_interval(found)})"
    if found.answer.host:
        return f"{usual}, and so does its control: it is the host, {beside}."
    return f"{_who(found)} is {beside}." if found.answer.confirmed else f"{_who(found)} is not confirmed: {beside}."


def why(store: Store, looked: Looked, key: SeriesKey, since_run: str) -> list[Change]:
    """What changed between the night before a shift and this one, the likeliest cause first."""
    nights = [night.run_id for night in looked.followed[key].nights]
    first = nights.index(since_run)
    records = _records(store, nights[max(0, first - 1) :], key)
    found = [records[run_id] for run_id in nights[max(0, first - 1) :] if run_id in records]
    return changes(found, 1, lock_finder(store, found)) if len(found) > 1 else []


def lock_finder(store: Store, records: Sequence[Record]) -> Callable[[str], Lock | None]:
    """Digest → the environment, by the store or by what is kept on this host."""
    digests = sorted({made for record in records if (made := record.facts.provenance.environment)})
    known: dict[str, Lock] = store.environments(digests)

    def find(digest: str) -> Lock | None:
        return known.get(digest) or kept.find(paths.home(), digest)

    return find


_RECORDS = """
SELECT run_id, record - 'detail' FROM nightgate.results
WHERE (benchmark, variant, device) = (%s, %s, %s) AND run_id = ANY(%s) AND status = 'measured'
"""


def _records(store: Store, run_ids: Sequence[str], key: SeriesKey) -> Mapping[str, Record]:
    rows = store.rows(_RECORDS, (key.benchmark, key.variant, key.device, list(run_ids)[-NIGHTS:]))
    return {run_id: Record.model_validate(record, context=STORED) for run_id, record in rows}


def _subject(key: SeriesKey, record: Record, scale: str) -> str:
    return subject(str(key), scale, record.host.fingerprint if record.host else "")


def _said(sentence: str, key: SeriesKey) -> Said:
    return Said(sentence=sentence, **key._asdict())


def _spec(found: Found) -> MetricSpec:
    return registry.spec(found.key.benchmark, found.key.metric)


def _who(found: Found) -> str:
    key = found.key
    return f"{registry.title(key.benchmark)}, {key.variant} on {key.device}: {_spec(found).title}"


def _factor(found: Found) -> float | None:
    """By how much it is worse, where two are compared by their ratio."""
    return math.exp(found.answer.ratio) if found.answer and _spec(found).logarithmic else None


def _percent(found: Found, value: float) -> str:
    if _spec(found).logarithmic:
        return f"{100 * abs(math.expm1(value)):.1f} %"
    return f"{100 * abs(value):.1f} points"


def _interval(found: Found) -> str:
    answer, logarithmic = found.answer, _spec(found).logarithmic
    assert answer is not None
    ends = (answer.ratio - _NORMAL * answer.error, answer.ratio + _NORMAL * answer.error)
    low, high = (100 * (math.expm1(end) if logarithmic else end) for end in ends)
    return f"{low:+.1f} to {high:+.1f} {'%' if logarithmic else 'points'}"
