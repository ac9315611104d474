"""Two records side by side: for each metric the difference, by the best method their samples allow, and in words."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nightgate import paths, registry
from nightgate.errors import ArtifactError
from nightgate.judge import comparison
from nightgate.judge.comparison import CONFIDENCE, Difference
from nightgate.measure import samples
from nightgate.metrics import ErrorRate, MetricSpec, Repeats
from nightgate.publish import certainty, figures
from nightgate.record import Between, Metric, Record, Summary
from nightgate.series import annotations_of, differing

if TYPE_CHECKING:
    import numpy as np


_STRETCHES = 20

UNKNOWN = 0.15
"""What the speeds of two runs are taken to differ by (sd of the logarithm) while too few runs are known to tell: virtual
hosts, which have two speeds, come to that. An objective assumes less, because more runs of its night correct it."""


@dataclass(frozen=True)
class Row:
    """One metric: both values, the difference (second against first) and what it means in words."""

    metric: str
    first: Metric
    second: Metric
    difference: Difference
    finding: str

    @property
    def change(self) -> str:
        """The difference with its interval: "× 1.05 (1.02–1.08)", "+0.010 (…)"."""
        text = figures.times if self.difference.scale == "ratio" else figures.signed
        return text(self.difference.value, self.difference.interval)


@dataclass(frozen=True)
class Comparison:
    """All metrics that two records share. ``first`` and ``second`` are what to call them.

    ``differences`` is what makes their work another ("rows: 50,000 → 1,000,000"), empty when they did the same; ``judged``
    is whether it is said which one is better.
    """

    benchmark: str
    device: str
    variants: tuple[str, str]
    runs: tuple[str, str]
    first: str
    second: str
    rows: list[Row]
    notes: list[str]
    differences: list[str] = field(default_factory=list)
    judged: bool = True

    @property
    def title(self) -> str:
        what = f"{registry.title(self.benchmark)} on {self.device}"
        if self.variants[0] == self.variants[1]:
            return f"{what}, {self.variants[0]}: before is {self.runs[0]}, after is {self.runs[1]}"
        if self.runs[0] == self.runs[1]:
            return f"{what}: {self.first} and {self.second} of {self.runs[0]}"
        return f"{what}: {self.first} of {self.runs[0]} and {self.second} of {self.runs[1]}"

    @property
    def other_work(self) -> str:
        """What it means that their work differs; empty where it does not."""
        if not self.differences:
            return ""
        refused = "" if self.judged else ": no difference is called better or worse (--anyway calls it so)"
        return f"Not the same work{refused}"

    @property
    def legend(self) -> list[str]:
        """How the differences are to be read, and by which method each was judged."""
        methods: dict[str, list[str]] = {}
        for row in self.rows:
            methods.setdefault(row.difference.method, []).append(self.name_of(row))
        most = max(methods, key=lambda method: len(methods[method]), default="")
        named = {method: " · ".join(names) for method, names in methods.items() if method != most}
        if most:
            named[most] = "all others" if named else "all"
        return [
            f"change: × is {self.second} ÷ {self.first}, + and − are {self.second} − {self.first}; in brackets the {100 * CONFIDENCE:.0f} % interval",
            *(f"{method}: {of}" for method, of in named.items()),
        ]

    def name_of(self, row: Row) -> str:
        return registry.spec(self.benchmark, row.metric).short_title


class Side:
    """One record of a run, what to call it, and its raw samples."""

    def __init__(self, record: Record, run: Summary, name: str) -> None:
        self.record, self.run_id, self.scale, self.name = record, run.run_id, run.scale, name
        self.host = (record.host or run.host).fingerprint
        self.notes: list[str] = []

    @cached_property
    def samples(self) -> dict[str, np.ndarray]:
        """Empty, with a note, when they cannot be read: a comparison is still possible then."""
        if not self.record.samples:
            return {}
        try:
            return samples.read(paths.run_dir(self.run_id) / Path(self.record.samples).name, self.record.variant)
        except ArtifactError as error:
            self.notes.append(f"{error.what}: of {self.name} only the intervals are compared.")
            return {}

    def repeats(self, kept: Repeats) -> np.ndarray | None:
        """The metric in each repeat, shape (repeats,); None when the repeats were not kept."""
        import numpy as np

        times = self.samples.get(kept.array)
        if times is None or times.ndim != 1 or not len(times) or not (np.isfinite(times) & (times > 0)).all():
            return None
        return 1 / times if kept.inverted else times

    def rounds(self, spec: MetricSpec) -> np.ndarray | None:
        """What each round took in which it took turns with others, shape (rounds,); None when that was not kept."""
        times = self.samples.get(spec.rounds.array) if spec.rounds else None
        return times if times is not None and times.ndim == 1 and len(times) else None

    def inputs(self, kept: ErrorRate) -> tuple[Any, ...] | None:
        """What makes two sets of inputs, and how an error rate is counted on them, the same; None when it was not kept."""
        digest, sizes = self.record.facts.inputs.get(kept.over), self.samples.get(kept.sizes)
        if digest is None or sizes is None or sizes.ndim != 1 or not (sizes >= 0).all() or not sizes.any():
            return None
        return digest, sizes.tolist()


def compare(first: tuple[Record, Summary], second: tuple[Record, Summary], *, anyway: bool = False) -> Comparison:
    """Every metric that both records have, each with its run. The samples are read from the runs' folders.

    Of two that did not do the same work no difference is called real, unless ``anyway``.
    """
    records, runs = (first[0], second[0]), (first[1], second[1])
    variants = (records[0].variant, records[1].variant)
    names = variants if variants[0] != variants[1] else ("before", "after")
    one, two = (Side(record, run, name) for record, run, name in zip(records, runs, names, strict=True))
    order = dict.fromkeys([*figures.headlines(records), *registry.in_order(records, records[0].metrics)])
    shared = [name for name in order if all(name in record.metrics for record in records)]
    differences = _differences(one, two)
    judged = anyway or not differences
    rows = [_row(name, one, two, comparable=judged) for name in shared]
    return Comparison(
        benchmark=records[0].benchmark,
        device=records[0].device,
        variants=variants,
        runs=(one.run_id, two.run_id),
        first=names[0],
        second=names[1],
        rows=rows,
        notes=[*_notes(one, two), *one.notes, *two.notes],
        differences=differences,
        judged=judged,
    )


def as_json(comparisons: list[Comparison]) -> str:
    """An array with one object per comparison; the numbers in base units."""
    found = [asdict(one) for one in comparisons]
    return json.dumps(found, indent=1, default=lambda metric: metric.model_dump(mode="json"))


def _row(name: str, one: Side, two: Side, *, comparable: bool) -> Row:
    first, second, spec = one.record.metrics[name], two.record.metrics[name], registry.spec_of(one.record, name)
    found = _difference(spec, one, two)
    if not comparable:
        found = replace(found, real=None, reason="not the same work")
    elif spec.of_speed and one.host != two.host:
        found = replace(found, real=None, reason="different hosts")
    elif any(certainty.doubtful(side.record, spec) for side in (one, two)):
        found = replace(found, real=None, reason="a disturbed host")
    elif found.real and not _alike_too(spec, one, two):
        found = replace(found, real=None, reason="it may be the host, at full speed no difference can be told")
    second_wins = (found.value < (1 if found.scale == "ratio" else 0)) != spec.higher_is_better
    words = _in_words(found, f"{(two if second_wins else one).name} {_advantage(spec)}")
    return Row(
        name, first, second, found, "the same" if found.interval is None and first.value == second.value else words
    )


def _alike_too(spec: MetricSpec, one: Side, two: Side) -> bool:
    """Whether two runs also differ in what was measured while the host was in one and the same state, as far as that is known."""
    known = all(spec.alike in side.record.metrics for side in (one, two))
    if one.run_id == two.run_id or not spec.alike or not known:
        return True
    return _difference(registry.spec_of(one.record, spec.alike), one, two).real is not False


def _difference(spec: MetricSpec, one: Side, two: Side) -> Difference:
    same_run = one.run_id == two.run_id
    if same_run and (pairs := _paired(spec, one, two)):
        return pairs
    if same_run and isinstance(spec.samples, Repeats):
        first, second = one.repeats(spec.samples), two.repeats(spec.samples)
        if first is not None and second is not None:
            return comparison.speeds(first, second)
    if isinstance(kept := spec.samples, ErrorRate) and one.inputs(kept) and one.inputs(kept) == two.inputs(kept):
        sizes, before, after = one.samples[kept.sizes], one.samples.get(kept.errors), two.samples.get(kept.errors)
        if before is not None and after is not None and before.shape == after.shape == sizes.shape:
            return comparison.error_rates(before, after, sizes)
    known = [_as_known(side.record.metrics[spec.name], spec, same_run) for side in (one, two)]
    found = comparison.between_runs(known[0], known[1], spec)
    if any(metric.ci95 is None and not _learned(metric) for metric in known):
        return replace(found, interval=None, real=None, reason="no interval, and too few runs are known")
    return found


def _learned(metric: Metric) -> bool:
    return metric.between is not None and not metric.between.prior


def _as_known(metric: Metric, spec: MetricSpec, same_run: bool) -> Metric:
    """A metric with what runs are taken to differ by: what was learned, or `UNKNOWN`."""
    if _learned(metric) or same_run or not spec.of_speed:
        return metric
    before = metric.between
    sd, runs = (max(before.sd, before.apart or 0.0), before.runs) if before else (0.0, 0)
    own = metric.within95 if before else metric.ci95
    farthest = before.farthest if before else None
    between = Between(sd=max(sd, UNKNOWN), farthest=farthest, runs=runs, prior=True)
    return metric.model_copy(update={"between": between, "within95": own})


def _paired(spec: MetricSpec, one: Side, two: Side) -> Difference | None:
    """By the rounds in which two variants of one run took turns; None when they did not, or these were not kept."""
    first, second = one.rounds(spec), two.rounds(spec)
    if spec.rounds is None or first is None or second is None:
        return None
    rounds = min(len(first), len(second))
    both = [times[:rounds] for times in ((second, first) if spec.rounds.inverted else (first, second))]
    made = (both[0] > 0) & (both[1] > 0)  # neither is of a round that one of them did not make: NaN
    if not made.any():
        return None
    return comparison.paired(*(_in_stretches(times[made]) for times in both))


def _in_stretches(times: np.ndarray) -> np.ndarray:
    """Rounds one after the other are alike, so what counts as one observation is a stretch of them: at most `_STRETCHES` of
    as many rounds each (batch means: Law & Kelton, *Simulation Modeling and Analysis*)."""
    import numpy as np

    each = -(-len(times) // _STRETCHES)
    whole = len(times) // each * each
    stretches: np.ndarray = np.asarray(times[:whole], np.float64).reshape(-1, each).mean(axis=1)
    return stretches


def _advantage(spec: MetricSpec) -> str:
    """What the better side does."""
    if spec.zero_is_possible:
        return "finds more" if spec.higher_is_better else "makes fewer errors"
    return "takes less" if spec.unit == "bytes" else "is faster"


def _in_words(found: Difference, advantage: str) -> str:
    if found.real is None:
        return f"cannot be told: {found.reason}"
    if not found.real:
        return "no difference can be told"
    value, ends = found.value, found.interval
    if found.scale == "ratio":
        if value < 1:
            value, ends = 1 / value, ends and (1 / ends[1], 1 / ends[0])
        return f"{advantage}, {figures.times(value, ends)}"
    if value < 0:
        value, ends = -value, ends and (-ends[1], -ends[0])
    return f"{advantage}, by {figures.with_interval(Metric(value=value, unit='ratio', n=1, ci95=ends))}"


def _notes(one: Side, two: Side) -> list[str]:
    """What one must know to read the differences right."""
    notes = [figures.headline(side.record) for side in (one, two) if side.record.status != "measured"]
    if one.host != two.host:
        notes.append("Different hosts: speeds cannot be compared, recall and error rates can.")
    elif one.run_id != two.run_id:
        notes.append(_between_runs([side.record for side in (one, two)]))
    if changed := _changed(one, two):
        notes.append(f"Between them changed: {changed}")
    for side in (one, two):
        if why := certainty.disturbed(side.record):
            notes.append(f"The host of {side.name} was disturbed, so its speeds are not compared: {why}")
    return notes


def _changed(one: Side, two: Side) -> str:
    """What annotates the points of one variant in two runs, such as the version of a library, and is not the same."""
    if one.run_id == two.run_id or one.record.variant != two.record.variant:
        return ""
    first, second = annotations_of(one.record), annotations_of(two.record)
    changed = [name for name in first if second.get(name, first[name]) != first[name]]
    return ", ".join(f"{name} {first[name]} → {second[name]}" for name in changed)


def _between_runs(records: list[Record]) -> str:
    """Where it is known from how much whole runs differ."""
    found = [metric.between for record in records for metric in record.metrics.values() if metric.between]
    learned = [between.runs for between in found if not between.prior]
    if learned and len(learned) == len(found):
        return f"What whole runs differ by is in every interval, learned from {max(learned)} runs of the series."
    return (
        "What whole runs differ by is in every interval. Of some metrics too few runs are known to learn it, and a good deal "
        "is assumed: only large differences can be told."
    )


def _differences(one: Side, two: Side) -> list[str]:
    scales = {"scale": (one.scale, two.scale)} if one.scale != two.scale else {}
    found = {**scales, **differing(one.record, two.record)}
    return [f"{key}: {figures.plain(before)} → {figures.plain(after)}" for key, (before, after) in found.items()]
