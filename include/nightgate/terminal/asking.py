"""`nightgate why`, `duet` and `bisect`: what changed, what that makes, and which of it."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from json import dumps

from nightgate import paths, planning, registry, steps, terminal
from nightgate.artifacts import Cache
from nightgate.causes import Change, changes
from nightgate.duet import bisecting, sides
from nightgate.duet.measuring import Task, duet
from nightgate.duet.ratio import Ratio, ratio
from nightgate.environments import build, kept
from nightgate.environments.lock import Lock
from nightgate.errors import InputError, NightgateError, NotMeasured, ServiceUnavailable, choices
from nightgate.measure.child import Interpreter
from nightgate.metrics import MetricSpec
from nightgate.record import BY_HAND, Device, Record, Summary
from nightgate.results import files
from nightgate.results.store import Store
from nightgate.suite import parse_overrides
from nightgate.terminal import stored
from nightgate.terminal.commands import servers
from nightgate.watching import task_of

_NO_EFFECT = 5e-5
"""What rounds to nothing is none."""

out = terminal.console()
err = terminal.console(stderr=True)


def why(run_id: str, since: str, benchmark: str, variant: str, device: str, json: bool) -> None:
    with _store() as store:
        after = _run(run_id, store)
        before = _run(since, store) if since else _before(after, store)
        found: dict[str, list[Change]] = {}
        for record in _chosen(after, benchmark, variant, device):
            pair = [r for r in before.results if _key(r) == _key(record) and r.status == "measured"]
            if pair:
                found[" ".join(_key(record))] = changes([pair[0], record], None, lambda digest: _lock(digest, store))
    if not found:
        raise InputError(
            f"{before.run_id} measured nothing that {after.run_id} measured too", "name another run: --since RUN"
        )
    if json:
        print(
            dumps(
                {
                    "run": after.run_id,
                    "since": before.run_id,
                    "changes": {name: [vars(one) for one in of] for name, of in found.items()},
                },
                indent=1,
            )
        )
        return
    out.print(f"from {before.run_id} to {after.run_id}", highlight=False)
    common = [one for one in next(iter(found.values())) if all(one in of for of in found.values())]
    _lines("", common, nothing=all(not of for of in found.values()))
    for name, of in found.items():
        if own := [one for one in of if one not in common]:
            _lines(name, own)


def _lines(name: str, found: list[Change], *, nothing: bool = False) -> None:
    if name:
        out.print(name, style="bold", highlight=False)
    for one in found:
        out.print(f"  {one}", highlight=False, soft_wrap=True)
    if nothing:
        out.print("  nothing that is known changed: it is the host, or chance", highlight=False)


def duet_of(
    first: str,
    second: str,
    benchmark: str,
    variant: str,
    device: str,
    scale: str,
    rounds: int,
    set_: list[str],
    json: bool,
) -> None:
    terminal.log_to(err)
    overrides = parse_overrides(set_)
    with _store() as store, servers(benchmark):
        known = registry.named(benchmark)
        chosen = variant or known.settings.known_variants[0] if not overrides.get(f"{benchmark}.variants") else variant
        if chosen:
            overrides |= {f"{benchmark}.{key}": names for key, names in known.settings.only(chosen).items()}
        plan = steps.preflight(
            planning.new_run_id("duet"),
            dag_id=BY_HAND,
            scale=scale,
            only=[benchmark],
            devices=[device],
            overrides=overrides,
        )
        one, two = (sides.side_of(text, lambda run: _lock_of_run(run, store)) for text in (first, second))
        settings = plan.settings[benchmark]
        metrics = tuple(spec.name for spec in known.all_metrics if spec.watched) or known.headlines
        on: Device = "gpu" if device == "gpu" else "cpu"
        task = Task(benchmark, on, settings, metrics, plan.looked[benchmark], planning.services_here())
        made = duet(one, two, task, rounds)
    specs = {spec.name: spec for spec in known.all_metrics if spec.better}
    found: list[Ratio] = []
    for name in made.rounds[0].first.get(chosen, {}):
        if name in specs and (of := ratio(*made.of(chosen, name), specs[name])):
            found.append(of)
    if not found:
        raise NotMeasured("no round counts", made.disturbed[0] if made.disturbed else None)
    if json:
        print(dumps([vars(one) | {"differs": one.differs} for one in found], indent=1))
        return
    out.print(f"{chosen} of {benchmark} on {device}: {second} over {first}, {rounds} rounds in turns", highlight=False)
    for each in sorted(found, key=lambda each: (not each.differs, each.metric)):
        out.print(
            f"  {specs[each.metric].title}: {_ratio_text(each, specs[each.metric])}", highlight=False, soft_wrap=True
        )


def _ratio_text(one: Ratio, spec: MetricSpec) -> str:
    if one.logarithmic:
        text = f"{one.value:.3f} × ({one.low:.3f} to {one.high:.3f})"
    else:
        text = f"{100 * one.value:+.2f} points ({100 * one.low:+.2f} to {100 * one.high:+.2f})"
    if not one.differs or abs(one.value - one.none) < _NO_EFFECT:
        return f"{text}, no difference to be seen"
    better = (one.value > one.none) == spec.higher_is_better
    return f"{text}, {'better' if better else 'worse'}"


def bisect(
    metric: str, good: str, bad: str, benchmark: str, variant: str, device: str, rounds: int, anew: bool, json: bool
) -> None:
    terminal.log_to(err)
    with _store() as store:
        runs = {name: _run(name, store) for name in (good, bad)}
        record = _with_metric(runs[bad], metric, benchmark, variant, device)
        before = next((one for one in runs[good].results if _key(one) == _key(record)), None)
        if before is None or before.status != "measured":
            raise InputError(
                f"{good} did not measure {record.variant} of {record.benchmark} on {record.device}",
                "name another good run",
            )
        locks = [_of_record(one, run, store) for one, run in ((before, good), (record, bad))]
    between = sides.Between.of(*locks)
    spec, changed = registry.spec(record.benchmark, metric), between.changes
    left_out = {name: pair for name, pair in changed.items() if pair[1] is None or name == "python"}
    changed = {name: pair for name, pair in changed.items() if name not in left_out}
    for name, (was, now) in left_out.items():
        err.print(
            f"{name} {was} → {now or 'not there'} cannot be tried by itself and is left out",
            style="dim",
            highlight=False,
        )
    key = hashlib.sha256(f"{metric}|{_key(record)}|{locks[0].digest}|{locks[1].digest}|{rounds}".encode()).hexdigest()[
        :12
    ]
    file = sides.bisect_file(key)
    if anew:
        file.unlink(missing_ok=True)
    with servers(record.benchmark):
        task = task_of(record, (metric,))
        start = _interpreter(locks[0])

        def measure(names: tuple[str, ...]) -> list[float]:
            made = duet(*between.sides(start, names), task, rounds)
            first, second = made.of(record.variant, metric)
            if len(first) < 3:
                raise NotMeasured("too few rounds count", made.disturbed[0] if made.disturbed else None)
            return [_apart(a, b, spec) for a, b in zip(first, second, strict=True)]

        verdict, search = bisecting.bisect(file, f"{metric} of {' '.join(_key(record))}", changed, measure)
    if json:
        print(dumps({"verdict": verdict.model_dump(), "search": search.model_dump(), "file": str(file)}, indent=1))
        return
    for one in search.tried:
        what = one.error or _effect(one.mean, spec)
        out.print(f"  with the new {', '.join(one.names)}: {what}", highlight=False, soft_wrap=True)
    out.print(_said(verdict, changed, spec), highlight=False, soft_wrap=True)


def _said(verdict: bisecting.Verdict, changed: dict[str, tuple[str | None, str | None]], spec: MetricSpec) -> str:
    whole = _effect(verdict.whole, spec)
    if verdict.kind == "nothing":
        return f"Nothing to find: both ends are alike within what {len(changed)} changes could be told by ({whole})."
    told = ", ".join(_change(name, changed[name]) for name in verdict.names)
    if verdict.kind == "inseparable":
        return f"It is among {told}, which cannot be told apart: {verdict.reason}"
    share = "" if verdict.share is None else f"; by itself it makes {100 * verdict.share:.0f} % of that"
    return f"It is {told}. All changes together: {whole}{share}. All steps right with a probability of {100 * verdict.sure:.1f} %."


def _change(name: str, versions: tuple[str | None, str | None]) -> str:
    if name.startswith("commit "):
        return f"{name} ({versions[1]})"
    return f"{name} {versions[0] or 'not there'} → {versions[1]}"


def _effect(value: float, spec: MetricSpec) -> str:
    """Of a logarithm of a ratio, or of a difference."""
    if spec.logarithmic:
        factor = math.exp(value)
        return f"{spec.title} {factor:.3f} ×"
    return f"{spec.title} {100 * value:+.2f} points"


def _apart(first: float, second: float, spec: MetricSpec) -> float:
    return math.log(second / first) if spec.logarithmic else second - first


def _interpreter(lock: Lock) -> Interpreter:
    return build.interpreter(Cache(paths.cache_dir()), paths.home(), lock)


@contextmanager
def _store() -> Iterator[Store | None]:
    """The store, where there is one; it is started if need be."""
    with ExitStack() as stack:
        try:
            store = stack.enter_context(stored.opened())
        except InputError:  # nothing was ever recorded here: files are all there is
            store = None
        yield store


def _run(run_id: str, store: Store | None) -> Summary:
    try:
        return files.read_summary(run_id)
    except NightgateError as error:
        if store and (found := store.summary(run_id)):
            return found
        raise error


def _before(after: Summary, store: Store | None) -> Summary:
    """The last run of its suite, scale and standing before it that passed."""
    if store is None:
        raise InputError("without a results store nobody knows which run was good before", "name it: --since RUN")
    nights = [
        run
        for run in store.runs(400)
        if (run.suite, run.scale, run.standing) == (after.suite, after.scale, after.standing)
    ]
    earlier = [run for run in nights if run.finished_at and run.finished_at < after.started_at]
    good = next((run for run in earlier if run.state == "pass"), None) or next(iter(earlier), None)
    if good is None:
        raise InputError(f"there is no run of {after.suite} before {after.run_id}", "name one: --since RUN")
    return _run(good.run_id, store)


def _key(record: Record) -> tuple[str, str, str]:
    return record.benchmark, record.variant, record.device


def _chosen(run: Summary, benchmark: str, variant: str, device: str) -> list[Record]:
    wanted = (benchmark, variant, device)
    found = [
        record
        for record in run.results
        if record.status == "measured"
        and all(asked in ("", its) for asked, its in zip(wanted, _key(record), strict=True))
    ]
    if not found:
        raise InputError(
            f"{run.run_id} measured nothing of {' '.join(filter(None, wanted)) or 'anything'}",
            "see `nightgate results show RUN`",
        )
    return found


def _with_metric(run: Summary, metric: str, benchmark: str, variant: str, device: str) -> Record:
    found = [record for record in _chosen(run, benchmark, variant, device) if metric in record.metrics]
    gated = [record for record in found if record.gated] or found
    if not gated:
        there = sorted({name for record in _chosen(run, benchmark, variant, device) for name in record.metrics})
        raise InputError(f"{run.run_id} has no {metric!r}", choices(there))
    if len(gated) > 1:
        who = ", ".join(" ".join(_key(record)) for record in gated)
        raise InputError(f"{metric} was measured of {who}", "say which: --benchmark, --variant and --device")
    return gated[0]


def _of_record(record: Record, run: str, store: Store | None) -> Lock:
    digest = record.facts.provenance.environment
    found = _lock(digest, store) if digest else None
    if found is None:
        raise InputError(
            f"what was installed in {run} is not known", "it was measured by an earlier Nightgate, or on another host"
        )
    return found


def _lock(digest: str, store: Store | None) -> Lock | None:
    if found := kept.find(paths.home(), digest):
        return found
    try:
        return store.environments([digest]).get(digest) if store else None
    except ServiceUnavailable:
        return None


def _lock_of_run(run_id: str, store: Store | None) -> Lock:
    run = _run(run_id, store)
    measured = next((record for record in run.results if record.facts.provenance.environment), None)
    if measured is None:
        raise InputError(f"what was installed in {run_id} is not known", "it was measured by an earlier Nightgate")
    return _of_record(measured, run_id, store)
