"""What is asked of every part: on which device, how large, and which limits it is held to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nightgate.record import Device


@dataclass(frozen=True)
class Sizes:
    """How much is measured. ``alone_seconds`` of the ``audio_seconds`` are transcribed clip by clip; ``repeats`` are those of
    the device, the CPU does everything once.
    """

    rows: int
    dim: int
    queries: int
    audio_seconds: float
    alone_seconds: float
    repeats: int
    batch_clips: int
    load_seconds: float
    copied_bytes: int
    matrix: int
    """Rows and columns of the matrices that are multiplied to find the peak."""


FULL = Sizes(
    rows=1_000_000, dim=256, queries=1000, audio_seconds=480, alone_seconds=120, repeats=4, batch_clips=32,
    load_seconds=0.5, copied_bytes=2**32, matrix=8192,
)  # fmt: skip
SMALL = Sizes(
    rows=20_000, dim=64, queries=200, audio_seconds=10, alone_seconds=10, repeats=4, batch_clips=4, load_seconds=0.3,
    copied_bytes=2**26, matrix=1024,
)  # fmt: skip

K = 100
"""Neighbours of each query."""
BATCHES = (1, 10, 100, 1000)
"""Queries handed over at once."""


@dataclass(frozen=True)
class Limits:
    """What must hold: xRT at most, and shares and speed-ups at least."""

    whispercpp_xrt: float
    torch_xrt: float
    torch_batch_xrt: float
    neighbours_share: float
    neighbours_speedup: float
    hybrid_speedup: float


LIMITS = {
    "h100": Limits(
        whispercpp_xrt=0.05, torch_xrt=0.05, torch_batch_xrt=0.01, neighbours_share=0.5, neighbours_speedup=30,
        hybrid_speedup=20,
    ),
}  # fmt: skip
"""By the name of the card; an H200 is held to an H100's."""

RECALL = 0.95
"""That the hybrid reaches on both devices before their speeds are compared."""
WER_TOLERANCE = 0.01
"""How far a device's word error rate may lie from the CPU's: in float16 a word comes out otherwise now and then."""
RECALL_TOLERANCE = 0.002
"""How far recall may lie from that of the same setting on the CPU: sums come out in another order."""


@dataclass(frozen=True)
class Asked:
    """One part on one device. ``folder`` is shared by all parts of a check: what one prepares, another reads."""

    device: Device
    threads: int
    folder: Path
    sizes: Sizes
    model: str
    clips: Path | None = None

    @property
    def repeats(self) -> int:
        return self.sizes.repeats if self.device == "gpu" else 1
