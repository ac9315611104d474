"""What the device can do at most, measured on it: one large copy and one large product of matrices.

    bandwidth   2 × bytes / seconds: every byte is read once and written once
    product     2 × n³ / seconds, matrices n × n

of the fastest of several rounds, since a peak is asked for. The float32 product is exact float32; TF32 rounds what is
multiplied to 11 bits, and is asked for where the library can.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gpu.asked import Asked
from gpu.outcome import Finding
from gpu.runner import Both, Earlier, Part
from nightgate.errors import Unavailable

_ROUNDS = 10


@dataclass(frozen=True)
class Peaks:
    """Bytes and floating-point operations per second, by which library on which device. ``tf32`` None: not asked for."""

    bandwidth: float
    float32: float
    tf32: float | None
    by: str

    def least_seconds(self, flops: float, moved: float) -> tuple[float, str]:
        """What so much work takes at the peaks, and which of them binds it."""
        return max((flops / self.float32, "float32"), (moved / self.bandwidth, "bandwidth"))


def measure(asked: Asked, earlier: Earlier) -> Peaks:
    return _on_gpu(asked) if asked.device == "gpu" else _on_cpu(asked)


def _on_cpu(asked: Asked) -> Peaks:
    import numpy as np

    n = asked.sizes.matrix
    source = np.ones(asked.sizes.copied_bytes // 4, np.float32)
    target, a, b, c = np.empty_like(source), *(np.ones((n, n), np.float32) for _ in range(3))
    copied = _fastest(lambda: np.copyto(target, source), lambda: None)
    multiplied = _fastest(lambda: np.matmul(a, b, out=c), lambda: None)
    return Peaks(2 * source.nbytes / copied, 2 * n**3 / multiplied, None, f"numpy {np.__version__}, cpu")


def _on_gpu(asked: Asked) -> Peaks:
    try:
        return _by_torch(asked)
    except ModuleNotFoundError:
        return _by_cupy(asked)


def _by_torch(asked: Asked, place: str = "cuda") -> Peaks:
    import torch

    if place == "cuda" and not torch.cuda.is_available():
        raise Unavailable(
            f"torch {torch.__version__} sees no CUDA device", "install a build of torch that fits the driver"
        )
    n, wait = asked.sizes.matrix, torch.cuda.synchronize if place == "cuda" else lambda: None
    source = torch.ones(asked.sizes.copied_bytes // 4, device=place)
    target = torch.empty_like(source)
    copied = _fastest(lambda: target.copy_(source), wait)
    moved = 2 * source.nbytes
    a, b = (torch.randn((n, n), device=place) for _ in range(2))
    c = torch.empty_like(a)
    spent = {}
    for precision in ("highest", "high"):
        torch.set_float32_matmul_precision(precision)
        spent[precision] = _fastest(lambda: torch.matmul(a, b, out=c), wait)
    rates = {precision: 2 * n**3 / seconds for precision, seconds in spent.items()}
    name = torch.cuda.get_device_name() if place == "cuda" else place
    return Peaks(moved / copied, rates["highest"], rates["high"], f"torch {torch.__version__}, {name}")


def _by_cupy(asked: Asked) -> Peaks:
    import cupy

    if not cupy.is_available():
        raise Unavailable("cupy sees no CUDA device", "install a build of cupy that fits the driver")
    n, wait = asked.sizes.matrix, cupy.cuda.get_current_stream().synchronize
    source = cupy.ones(asked.sizes.copied_bytes // 4, cupy.float32)
    target = cupy.empty_like(source)
    copied = _fastest(lambda: cupy.copyto(target, source), wait)
    moved = 2 * source.nbytes
    a, b = (cupy.random.standard_normal((n, n), dtype=cupy.float32) for _ in range(2))
    multiplied = _fastest(lambda: cupy.matmul(a, b), wait)
    name = cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()
    return Peaks(moved / copied, 2 * n**3 / multiplied, None, f"cupy {cupy.__version__}, {name}")


def _fastest(work: Callable[[], Any], wait: Callable[[], Any]) -> float:
    """Seconds of the fastest round; ``wait`` returns when the device has done what it was asked."""
    work()
    wait()
    spent = []
    for _ in range(_ROUNDS):
        start = time.perf_counter()
        work()
        wait()
        spent.append(time.perf_counter() - start)
    return min(spent)


def findings(both: Both) -> list[Finding]:
    found = both.gpu or both.cpu
    rates = [("float32 product", found.float32, "2 n³ / s"), ("TF32 product", found.tf32, "2 n³ / s")]
    return [
        Finding(name="measured by", value=found.by),
        Finding(name="memory bandwidth, GB/s", value=found.bandwidth / 1e9, note="2 × bytes copied / s"),
        *(
            Finding(name=f"{name}, TFLOP/s", value=rate / 1e12, note=formula)
            for name, rate, formula in rates if rate is not None
        ),
    ]  # fmt: skip


PART = Part("peaks", measure, findings, seconds=40, groups=("torch",), compared=False)
