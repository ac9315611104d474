"""How much memory of the GPU a process takes, by the driver: its context and libraries are in it, not only arrays."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from nightgate.measure import nvml
from nightgate.metrics import PEAK_DEVICE

if TYPE_CHECKING:
    from nightgate.record import Record

_EVERY = 0.05  # seconds between two readings; one takes about a millisecond of this process
_PATIENCE = 2.0  # seconds that the driver may take for its first reading


@dataclass(frozen=True)
class DeviceMemory:
    """``peak_bytes`` that were taken at once.

    ``by`` "process": the driver's count for that process. "device": by how much more of the whole device was taken than
    before it started, where the driver counts no processes or numbers them otherwise, as in a container.
    """

    peak_bytes: int
    by: Literal["process", "device"]


class Watch:
    """Reads the driver in a thread of its own until it is told to stop. `pid` is set when it is known."""

    def __init__(self) -> None:
        self.pid: int | None = None
        self._process = self._before = self._most = 0
        self._ready, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Returns when the memory taken beforehand is known."""
        self._thread.start()
        self._ready.wait(_PATIENCE)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(_PATIENCE)

    @property
    def found(self) -> DeviceMemory | None:
        """None when the driver could not be read, or nothing was taken."""
        if self._process:
            return DeviceMemory(self._process, "process")
        rise = self._most - self._before
        return DeviceMemory(rise, "device") if rise > 0 else None

    def _run(self) -> None:
        try:
            import pynvml
        except ImportError:
            self._ready.set()
            return
        try:
            pynvml.nvmlInit()
            if (device := nvml.handle(pynvml)) is not None:
                self._read(pynvml, device)
            pynvml.nvmlShutdown()
        except pynvml.NVMLError:  # whoever needs the device learns why from `devices`
            pass
        finally:
            self._ready.set()

    def _read(self, pynvml: Any, device: Any) -> None:
        self._before = self._most = pynvml.nvmlDeviceGetMemoryInfo(device).used
        self._ready.set()
        while not self._stop.wait(_EVERY):
            self._most = max(self._most, pynvml.nvmlDeviceGetMemoryInfo(device).used)
            own = [one for one in pynvml.nvmlDeviceGetComputeRunningProcesses(device) if one.pid == self.pid]
            self._process = max([self._process, *(one.usedGpuMemory or 0 for one in own)])


@contextmanager
def watched() -> Iterator[Watch]:
    """Watch the device until the end of the block."""
    watch = Watch()
    watch.start()
    try:
        yield watch
    finally:
        watch.stop()


def add_peak(record: Record, found: Iterable[DeviceMemory | None]) -> None:
    """Put the most that any of these processes took into ``record``; nothing when none was watched."""
    known = [one for one in found if one]
    if known:
        most = max(known, key=lambda one: one.peak_bytes)
        record.add(PEAK_DEVICE, most.peak_bytes)
        record.detail["peak_device_bytes_by"] = most.by
