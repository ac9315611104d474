"""Is there a GPU, and which: asked here and nowhere else."""

from __future__ import annotations

import shutil
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from nightgate.errors import ChildError, DriverError, Unavailable
from nightgate.measure.child import run_child
from nightgate.measure.nvml import visible
from nightgate.record import Gpu

_TRACES = ("/dev/nvidiactl", "/dev/dxg", "/proc/driver/nvidia")
_SECONDS = 60.0  # without its persistence mode a driver starts anew for every question


@cache
def gpu() -> Gpu | None:
    """The first NVIDIA device that CUDA may use, or None where there is none or CUDA_VISIBLE_DEVICES hides it.

    The driver is asked in a process of its own, which it may bring down, see `device_sources`.

    Raises:
        DriverError: a driver is there and does not work, which is not the same as no GPU.
    """
    if visible() == "" or not _traces():
        return None
    try:
        return run_child(look, None, threads=1, device="any", timeout=_SECONDS).value
    except ChildError as error:
        raise DriverError(
            f"the NVIDIA driver is there and cannot be asked: {error.what}", "see what nvidia-smi says"
        ) from error


def required(instead: str) -> Gpu:
    """As `gpu`, where there must be one.

    Args:
        instead: what to do without, as the error's next step.

    Raises:
        Unavailable: there is none. DriverError: as `gpu`.
    """
    found = gpu()
    if found is None:
        raise Unavailable("this host has no NVIDIA device", instead)
    return found


def look(_: None) -> Gpu | None:
    """The child's side of `gpu`."""
    from nightgate.measure.device_sources import SOURCES, NotThere

    for source in SOURCES:
        try:
            return source()
        except NotThere:
            continue
    return None


def _traces() -> bool:
    """Whether anything of a driver is on this host. Without, no process is started to ask it."""
    return bool(shutil.which("nvidia-smi") or find_spec("pynvml")) or any(map(Path.exists, map(Path, _TRACES)))
