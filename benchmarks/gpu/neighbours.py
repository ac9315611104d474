"""Exact neighbours: the device must find what the CPU finds, id by id, and near its peak.

share of the peak   least seconds / seconds of the scoring, where the least are what the work takes at the rates of
                    `peaks`: max(flops / float32 peak, bytes / bandwidth). Both counts are of `vectors.exact.Found`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpu import speeds, vectors
from gpu.asked import Asked, K
from gpu.outcome import Finding, at_least, demanded
from gpu.peaks import Peaks
from gpu.runner import Both, Earlier, Part
from gpu.speeds import Speeds

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

NAME = "neighbours"
_FEW = 10  # batches on a CPU, which compares every row for each


@dataclass(frozen=True)
class Searched:
    """``ids``: int64, (queries, k). ``seconds`` and ``scoring``: of each repeat, (repeats,). ``truth``: the folder in
    which the neighbours of the queries and of those to tune on are kept, see `nightgate.vectors.truth`."""

    ids: np.ndarray
    proven: int
    seconds: np.ndarray
    scoring: np.ndarray
    flops: int
    bytes_moved: int
    by: str
    speeds: Speeds
    truth: Path


def measure(asked: Asked, earlier: Earlier) -> Searched:
    import numpy as np

    from nightgate.vectors import arrays, truth
    from nightgate.vectors.dataset import open_dataset
    from nightgate.vectors.exact import ExactSearch

    data, where = open_dataset(vectors.folder(asked)), arrays.on(asked.device)
    base, queries = np.array(data.base), np.array(data.queries)
    search = ExactSearch(base, data.metric, arrays=where)
    folder = asked.folder / f"truth-{asked.device}"
    folder.mkdir(exist_ok=True)
    search.search(queries[:10], K)
    found = [search.search(queries, K) for _ in range(asked.repeats)]
    truth.save(folder, "queries", truth.Truth(found[0].ids))
    truth.save(folder, "tuning", truth.Truth(search.search(np.array(data.tuning), K).ids))
    seconds, most = (asked.sizes.load_seconds, speeds.MOST) if asked.device == "gpu" else (0, _FEW)
    timed = speeds.measure(lambda some: search.nearest(some, K), queries, seconds, most)
    return Searched(
        ids=found[0].ids, proven=int(found[0].proven.sum()), seconds=np.array([one.seconds for one in found]),
        scoring=np.array([one.scoring_seconds for one in found]), flops=found[0].flops, bytes_moved=found[0].bytes_moved,
        by=", ".join(where.facts().values()), speeds=timed, truth=folder,
    )  # fmt: skip


def findings(both: Both) -> list[Finding]:
    found: Searched = both.gpu or both.cpu
    made = [
        Finding(name="searched by", value=found.by),
        Finding(name=f"{len(found.ids):,} queries at once", value=float(found.seconds.min()), unit="seconds"),
        Finding(name="of that the scoring", value=float(found.scoring.min()), unit="seconds"),
        Finding(name="proven by float32 scores", value=f"{found.proven:,} of {len(found.ids):,}", note="the others by float64"),
        *_shares(both, found),
        *speeds.findings(found.speeds),
    ]  # fmt: skip
    if both.gpu and both.cpu:
        differing = int((both.gpu.ids != both.cpu.ids).any(axis=1).sum())
        made.append(
            demanded("the CPU's ids, in their order", differing == 0, f"{differing} queries differ" * bool(differing))
        )
        times = float(both.cpu.seconds.min() / both.gpu.seconds.min())
        limit = both.limits.neighbours_speedup if both.limits else None
        made.append(at_least("times as fast as the CPU", times, limit, note=f"there {both.cpu.seconds.min():.2f} s"))
    return made


def _shares(both: Both, found: Searched) -> list[Finding]:
    peaks: Peaks | None = both.earlier.get("peaks")
    if peaks is None:
        return []
    spent = float(found.scoring.min())
    least, binding = peaks.least_seconds(found.flops, found.bytes_moved)
    limit = both.limits.neighbours_share if both.limits and both.gpu else None
    return [
        at_least(f"share of the binding peak ({binding})", least / spent, limit, note="least seconds / seconds of the scoring"),
        Finding(name="share of the float32 peak", value=found.flops / spent / peaks.float32),
        Finding(name="share of the bandwidth", value=found.bytes_moved / spent / peaks.bandwidth),
    ]  # fmt: skip


PART = Part(NAME, measure, findings, seconds=90, groups=("torch",), needs=(vectors.PART.name,))
