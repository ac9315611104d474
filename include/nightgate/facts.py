"""What a record says of how it was measured, in types that everybody reads without knowing who wrote them.

What only one benchmark speaks of stands in the record's ``detail`` instead, and is shown as it is.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

Setting = dict[str, Any]
"""Values of the knobs that tuning turns, by name: ``{"lists": 64, "refine": 5}``."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Vectors(BaseModel):
    """The vectors that were searched. Of synthetic ones also the seed and what else made them.

    ``local_dimension`` and ``relative_contrast`` (by k) say how hard they are; None of either stands for infinity.
    ``held_out`` counts rows of the file that serve as queries, by their use.
    """

    model_config = ConfigDict(extra="allow")
    rows: int | None = None
    dim: int | None = None
    metric: str | None = None
    digest: str | None = None
    file: str | None = None
    queries_file: str | None = None
    sha256: str | None = None
    queries_sha256: str | None = None
    seed: int | None = None
    hardness: float | None = None
    format: int | None = None
    held_out: dict[str, int] | None = None
    queries_in_base: int | None = None
    local_dimension: float | None = None
    relative_contrast: dict[str, float | None] | None = None


class Point(_Model):
    """One setting that was tried on the tuning queries; latencies in seconds."""

    setting: Setting
    recall: float
    latency_p50: float | None = None
    latency_p95: float | None = None
    queries: int | None = None


class Tuning(_Model):
    """How the measured setting was found: the cheapest whose recall reaches ``target`` with its margin.

    ``reached`` is whether any does; ``curve`` is all that was tried.
    """

    target: float | None = None
    setting: Setting
    reached: bool = True
    curve: list[Point] = Field(default_factory=list)

    @property
    def chosen(self) -> Point | None:
        return next((point for point in self.curve if point.setting == self.setting), None)


class OpenLoop(_Model):
    """Requests that came at ``rate`` per second for ``seconds``, whatever became of those before them.

    ``saturated``: they came faster than they were served, so no latency is stated. ``lateness_p50_seconds``: the loop's
    own error.
    """

    rate: float
    seconds: float | None = None
    utilisation: float
    saturated: bool = False
    lateness_p50_seconds: float | None = None


class Batch(_Model):
    """Whole batches of ``size`` on so many threads, answered together."""

    size: int
    threads: int
    queries_per_second: float
    ci95: tuple[float, float] | None = None
    recall: float | None = None


class Crowd(_Model):
    """So many clients at once, each of which asks again when it is answered. Latencies in seconds."""

    clients: int
    queries_per_second: float
    ci95: tuple[float, float] | None = None
    latency_p50: float
    latency_p95: float


class Canary(_Model):
    """One fixed computation: its median seconds, and the interquartile range over the median."""

    seconds: float
    spread: float


class HostSample(_Model):
    """How fast the host was in ``seconds`` during which nothing was measured, see `nightgate.measure.canary`; medians.

    ``at``: seconds from the start of the measurement, below zero before it. ``cpu``: seconds of the computation;
    ``at_full_speed``: of its rounds, those near the fastest; ``memory``: bytes copied per second; ``cache``: seconds per number
    picked; ``late``: seconds that a sleep of a millisecond took too long; ``longest_gap``, seconds, and ``lost``, a share of
    the time: when the loop did not have its core. ``others``: how many cores other programs kept busy meanwhile, and
    ``others_since`` the same from the sample before to the end of this one, as far as it can be told; ``program``: the
    busiest of them.
    """

    at: float
    seconds: float
    cpu: float
    at_full_speed: float | None = None
    memory: float
    cache: float
    late: float
    longest_gap: float
    lost: float
    others: float | None = None
    others_since: float | None = None
    program: str | None = None


class Noise(_Model):
    """The state of the host before, during and after; ``load_`` is the average of a minute.

    ``cores``: how many can be used. ``others``: how many of them other programs kept busy on average, ``loaded_share``: of the
    time, how much they kept half a core busy or more (a tenth of more than five), ``program``: the busiest; ``_at_rest`` the
    same of the samples alone, during which a server that works for us rests. ``stolen``: the share of the running time that
    the hypervisor gave to other machines; ``throttled``, ``hot``, ``waited``: shares of the time in which our processes were
    at the limit of their cgroup, a core was slowed down for its heat, some process waited for a core (ours among them).
    ``at_full_speed``: of the canary's rounds, those within 1.25 × of the fastest, and ``slowdown`` by how much the others took
    longer, in the median: a virtual host has two speeds. ``unread``: what could not be read.

    ``disturbed``: why speeds that were measured meanwhile count for nothing; None where they do. ``tolerated``: the same
    sentence, where the host was declared as one that others use too.
    """

    canary_before: Canary | None = None
    load_before: float | None = None
    canary_after: Canary | None = None
    load_after: float | None = None
    samples: list[HostSample] = Field(default_factory=list)
    cores: int | None = None
    others: float | None = None
    loaded_share: float | None = None
    others_at_rest: float | None = None
    loaded_at_rest: float | None = None
    program: str | None = None
    stolen: float | None = None
    throttled: float | None = None
    hot: float | None = None
    waited: float | None = None
    at_full_speed: float | None = None
    slowdown: float | None = None
    unread: list[str] = Field(default_factory=list)
    disturbed: str | None = None
    tolerated: str | None = None


class Pace(_Model):
    """How fast the host is when nothing slows it down: ``fastest_seconds`` of a reference computation, the least that the last
    ``measurements`` on this host saw of it. Beside what counts as fast it took at most ``within`` times as long.
    """

    fastest_seconds: float
    measurements: int
    within: float


class Provenance(_Model):
    """With what it was measured.

    ``versions``: of the libraries and servers that were used, by name. ``revision``: the project's, where it lies in a
    Git work tree. ``cpu_flags``: those vector instructions that the libraries choose their code by; ``microcode``: the version
    of the processor's. ``environment``: the digest of all that was installed, see `nightgate.environments.lock.Lock`.
    """

    versions: dict[str, str] = Field(default_factory=dict)
    nightgate: str | None = None
    revision: str | None = None
    python: str | None = None
    kernel: str | None = None
    cpu_flags: list[str] = Field(default_factory=list)
    driver: str | None = None
    microcode: str | None = None
    environment: str | None = None


class Facts(_Model):
    """Everything of the above that applies to one record.

    ``inputs`` holds digests of what was worked on, by name: two records that differ in one did not do the same work.
    ``builds``: ids of the indexes that answered, by name: another build of the same may answer otherwise.
    ``not_measured``: what is missing, and why. ``not_judged``: metrics on which other variants have an objective and this
    one has none. ``earlier``: of figures that an earlier run took, when that was.

    ``stopped`` says what ended the repetition of what is judged: it was exact enough ("precision"), or what it may cost was
    spent ("budget"); ``half_width`` is how exact it was then, half of the 95 % interval over the value, of what more
    repetition would have made smaller. ``turns`` says in a sentence what it took turns with, or why it did not.
    """

    inputs: dict[str, str] = Field(default_factory=dict)
    builds: dict[str, str] = Field(default_factory=dict)
    vectors: Vectors | None = None
    tuning: Tuning | None = None
    open_loop: OpenLoop | None = None
    batches: list[Batch] = Field(default_factory=list)
    crowds: list[Crowd] = Field(default_factory=list)
    threads: int | None = None
    not_measured: dict[str, str] = Field(default_factory=dict)
    not_judged: dict[str, str] = Field(default_factory=dict)
    earlier: dict[str, str] = Field(default_factory=dict)
    noise: Noise | None = None
    stopped: Literal["precision", "budget"] | None = None
    half_width: float | None = None
    turns: str | None = None
    pace: Pace | None = None
    provenance: Provenance = Field(default_factory=Provenance)


def of_version_1(detail: dict[str, Any], metrics: dict[str, Any]) -> dict[str, Any]:
    """`Facts` as data, from the ``detail`` of a record that was written before they were kept apart; what moves leaves it.

    What is not as it should be stays where it is.

    Args:
        metrics: of the record, as data: the throughput stood among them alone.
    """
    inputs = {
        name: digest
        for name, key in (("data", "digest"), ("clips", "sha256"), ("model", "sha256"))
        if isinstance(of := detail.get(name), dict) and isinstance(digest := of.get(key), str)
    }
    moved: dict[str, Any] = {"inputs": inputs}
    batch, throughput = detail.get("throughput"), metrics.get("throughput_qps")
    rate = throughput if isinstance(throughput, dict) else {}
    tuning = {
        "target": detail.get("recall_target"),
        "setting": detail.get("setting"),
        "reached": detail.get("tuning_reached_target", True),
        "curve": detail.get("curve") or [],
    }
    batches = batch and {
        "size": batch.get("batch"),
        "threads": batch.get("threads"),
        "queries_per_second": rate.get("value"),
        "ci95": rate.get("ci95"),
    }
    candidates: list[tuple[str, Any, tuple[str, ...]]] = [
        ("vectors", detail.get("data"), ("data",)),
        ("tuning", tuning, ("recall_target", "setting", "tuning_reached_target", "curve")),
        ("open_loop", detail.get("open_loop"), ("open_loop",)),
        ("batches", batches and [batches], ("throughput",)),
        ("crowds", detail.get("clients"), ("clients",)),
        ("threads", detail.get("threads"), ("threads",)),
        ("not_measured", detail.get("not_measured"), ("not_measured",)),
        ("noise", detail.get("noise"), ("noise",)),
        ("provenance", {"versions": detail.get("versions")}, ("versions",)),
    ]
    for name, value, keys in candidates:
        if value is None:
            continue
        try:
            Facts.model_validate({name: value})
        except ValidationError:
            continue
        moved[name] = value
        for key in keys:
            detail.pop(key, None)
    return moved
