"""The driver's own library, NVML, through `pynvml`: it tells of a device without starting CUDA on it."""

from __future__ import annotations

import os
from typing import Any

_VARIABLE = "CUDA_VISIBLE_DEVICES"


def visible() -> str | None:
    """The device that CUDA takes for its first: a number or an identifier; None where nothing is chosen.

    Empty means that all are hidden. CUDA numbers devices of one kind as NVML does.
    """
    chosen = os.environ.get(_VARIABLE)
    if chosen is None:
        return None
    first = chosen.split(",")[0].strip()
    return "" if first.startswith("-") else first


def handle(pynvml: Any) -> Any | None:
    """NVML's handle of the `visible` device, after ``nvmlInit``; None when there is no such device."""
    wanted = visible()
    if wanted == "":
        return None
    count = pynvml.nvmlDeviceGetCount()
    if wanted is None or wanted.isdigit():
        place = int(wanted or 0)
        return pynvml.nvmlDeviceGetHandleByIndex(place) if place < count else None
    if wanted.startswith("MIG-"):  # a slice is none of those that are counted
        return pynvml.nvmlDeviceGetHandleByUUID(wanted)
    found = (pynvml.nvmlDeviceGetHandleByIndex(place) for place in range(count))
    return next((one for one in found if text(pynvml.nvmlDeviceGetUUID(one)).startswith(wanted)), None)


def text(answer: str | bytes) -> str:
    """What NVML says in words; older bindings give bytes."""
    return answer.decode() if isinstance(answer, bytes) else answer
