"""The vectors that all searches are over, made from a seed; nothing is downloaded."""

from __future__ import annotations

from pathlib import Path

from gpu.asked import Asked
from gpu.outcome import Finding
from gpu.runner import Both, Earlier, Part

_SEED = 20


def folder(asked: Asked) -> Path:
    """Where the data set lies, see `nightgate.vectors.dataset`."""
    return asked.folder / "vectors"


def measure(asked: Asked, earlier: Earlier) -> str:
    from nightgate.vectors import synthetic

    folder(asked).mkdir(parents=True, exist_ok=True)
    sizes = asked.sizes
    facts = synthetic.write(folder(asked), rows=sizes.rows, dim=sizes.dim, queries=sizes.queries, seed=_SEED)
    return f"{facts['rows']:,} × {facts['dim']}, {sizes.queries:,} queries, cosine, seed {_SEED}"


def findings(both: Both) -> list[Finding]:
    return [Finding(name="vectors", value=both.cpu)]


PART = Part("vectors", measure, findings, seconds=60, sides=("cpu",))
