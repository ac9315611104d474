"""A `pynvml` that is made up: ``install`` writes it where a child imports it, answering as it is told.

The names and codes are NVML's. Readings of the memory in use are taken in turn, the last one again and again.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

H100 = {
    "name": "NVIDIA H100 80GB HBM3", "uuid": "GPU-aaaa", "total": 85_520_809_984, "used": [1_000], "processes": [[]],
    "capability": [9, 0], "watts": 700.0, "clocks": {"now": [345, 2619], "max": [1980, 2620]},
}  # fmt: skip

_MODULE = """
import json, os, pathlib
NVML_ERROR_NOT_SUPPORTED, NVML_ERROR_NO_PERMISSION, NVML_ERROR_DRIVER_NOT_LOADED = 3, 4, 9
NVML_ERROR_LIBRARY_NOT_FOUND, NVML_ERROR_FUNCTION_NOT_FOUND = 12, 13
NVML_CLOCK_SM, NVML_CLOCK_MEM = 1, 2
TOLD = json.loads(pathlib.Path(__file__).with_name("nvml.json").read_text())
class NVMLError(Exception):
    def __init__(self, value):
        super().__init__(TOLD["words"].get(str(value), "Unknown Error"))
        self.value = value
class Answer:
    def __init__(self, **known): self.__dict__.update(known)
def nvmlInit():
    if TOLD["crash"]: os.abort()
    if TOLD["error"]: raise NVMLError(TOLD["error"])
def nvmlShutdown(): pass
def nvmlDeviceGetCount(): return len(TOLD["cards"])
def nvmlDeviceGetHandleByIndex(place): return TOLD["cards"][place]
def nvmlDeviceGetHandleByUUID(uuid): return next(card for card in TOLD["cards"] if card["uuid"] == uuid)
def nvmlDeviceGetUUID(card): return card["uuid"].encode()
def nvmlDeviceGetName(card): return card["name"]
def nvmlSystemGetDriverVersion(): return "580.65.06"
def nvmlSystemGetCudaDriverVersion(): return 13000
def nvmlDeviceGetCudaComputeCapability(card): return tuple(card["capability"])
def nvmlDeviceGetEnforcedPowerLimit(card):
    if card["watts"] is None: raise NVMLError(NVML_ERROR_NOT_SUPPORTED)
    return int(card["watts"] * 1000)
def nvmlDeviceGetClockInfo(card, which): return card["clocks"]["now"][which - 1]
def nvmlDeviceGetMaxClockInfo(card, which): return card["clocks"]["max"][which - 1]
def turn(readings): return readings.pop(0) if len(readings) > 1 else readings[0]
def nvmlDeviceGetMemoryInfo(card): return Answer(total=card["total"], used=turn(card["used"]))
def nvmlDeviceGetComputeRunningProcesses(card):
    return [Answer(pid=pid, usedGpuMemory=used) for pid, used in turn(card["processes"])]
"""


def install(
    folder: Path, *cards: dict[str, Any], error: int = 0, words: dict[int, str] | None = None, crash: bool = False
) -> Path:
    """Write the module into ``folder``, which goes onto the path of who shall find it.

    Args:
        error: the code with which `nvmlInit` fails; ``words`` are what NVML says of a code. crash: it ends the process.
    """
    (folder / "pynvml.py").write_text(_MODULE)
    told = {"cards": cards, "error": error, "crash": crash, "words": {str(code): said for code, said in (words or {}).items()}}  # fmt: skip
    (folder / "nvml.json").write_text(json.dumps(told))
    return folder
