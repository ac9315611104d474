"""The last stage of the hybrid alone: exact scores of a thousand candidates of each query, in the order that the CPU gives.

Two candidates may change places whose scores differ by less than γ = 2 · dim · 2⁻²⁴ of unit vectors, see `rerank_many`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gpu import vectors
from gpu.asked import Asked, K
from gpu.outcome import Finding, demanded
from gpu.peaks import Peaks
from gpu.runner import Both, Earlier, Part
from nightgate.errors import NotMeasured

if TYPE_CHECKING:
    import numpy as np

_CANDIDATES = 1000
_SEED = 5


@dataclass(frozen=True)
class Reranked:
    """``ids``: int64, (queries, k). ``scores``: theirs in float64, same shape. ``seconds``: the fastest repeat.
    ``bytes_moved``: of the vectors that are read, each once."""

    ids: np.ndarray
    scores: np.ndarray
    dim: int
    seconds: float
    bytes_moved: int
    by: str


def measure(asked: Asked, earlier: Earlier) -> Reranked:
    import numpy as np

    from nightgate.hybrid_ann.rerank import rerank_many
    from nightgate.vectors import arrays
    from nightgate.vectors.dataset import open_dataset

    data, where = open_dataset(vectors.folder(asked)), arrays.on(asked.device)
    base, queries = np.array(data.base), np.array(data.queries)
    candidates = np.random.default_rng(_SEED).integers(len(base), size=(len(queries), _CANDIDATES))
    held = where.put(base)
    rerank_many(queries[:10], candidates[:10], held, K, data.metric, arrays=where)
    spent = []
    for _ in range(asked.repeats):
        start = time.perf_counter()
        ids = rerank_many(queries, candidates, held, K, data.metric, arrays=where)
        spent.append(time.perf_counter() - start)
    if (ids < 0).any():
        raise NotMeasured(f"a query of {_CANDIDATES} candidates has fewer than {K} answers")
    scores = np.einsum("qkd,qd->qk", base[ids].astype(np.float64), queries.astype(np.float64))
    moved = candidates.size * base.shape[1] * base.itemsize
    return Reranked(ids, scores, base.shape[1], min(spent), moved, ", ".join(where.facts().values()))


def findings(both: Both) -> list[Finding]:
    found: Reranked = both.gpu or both.cpu
    made = [
        Finding(name="reranked by", value=found.by),
        Finding(name=f"queries per second, {_CANDIDATES:,} candidates", value=len(found.ids) / found.seconds, unit="per_second"),
    ]  # fmt: skip
    peaks: Peaks | None = both.earlier.get("peaks")
    if peaks:
        share = found.bytes_moved / found.seconds / peaks.bandwidth
        made.append(Finding(name="share of the bandwidth", value=share, note="bytes of the candidates / s / bandwidth"))
    if both.gpu and both.cpu:
        gamma = 2 * found.dim * 2.0**-24
        differing = int((both.gpu.ids != both.cpu.ids).sum())
        same = bool((abs(both.gpu.scores - both.cpu.scores) <= gamma).all())
        made += [
            demanded("the CPU's order, but for scores within γ", same, f"{differing:,} places differ, γ {gamma:.1e}"),
            Finding(name="times as fast as the CPU", value=both.cpu.seconds / both.gpu.seconds),
        ]
    return made


PART = Part("rerank", measure, findings, seconds=40, groups=("torch",), needs=(vectors.PART.name,))
