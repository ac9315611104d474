"""Where the vectors of a benchmark come from: what is asked for, before anything is made or read."""

from __future__ import annotations

from dataclasses import dataclass

from nightgate.vectors.synthetic import DEFAULT_HARDNESS


@dataclass(frozen=True)
class Synthetic:
    """Vectors made from a seed, compared by cosine; see `synthetic.write`."""

    rows: int
    dim: int
    queries: int
    seed: int
    hardness: float = DEFAULT_HARDNESS


@dataclass(frozen=True)
class Own:
    """The user's own file; see `own.inspect` and `own.write`.

    ``queries`` is how many are measured and ``queries_path`` where they stand, if not in the file itself; ``metric``
    None takes the one that the file names. ``rows`` uses only that many; the base must keep at least ``least_rows``.
    ``skip_zero`` leaves out rows that are zero under cosine.
    """

    path: str
    queries: int
    seed: int
    least_rows: int
    queries_path: str | None = None
    metric: str | None = None
    rows: int | None = None
    skip_zero: bool = False


Source = Synthetic | Own
