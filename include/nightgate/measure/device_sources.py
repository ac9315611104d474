"""Who can tell of an NVIDIA device, in the order they are asked. Runs in a process of its own, see `devices`.

Each returns the first device that CUDA may use, or None when the driver sees none, and raises

    NotThere      it is not on this host, so the next is asked
    DriverError   the driver is on this host and does not work

torch and cupy are not among them: both ask libcuda, as the last of these does without their weight.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from nightgate.errors import DriverError
from nightgate.measure import nvml as driver
from nightgate.record import Gpu

Answer = TypeVar("Answer")

_PCI = Path("/sys/bus/pci/devices")
_NVIDIA, _DISPLAY = "0x10de", "0x03"
_SMI_NOT_THERE, _SMI_NO_DEVICE, _SMI_NOT_LOADED = (
    12,
    6,
    9,
)  # nvidia-smi's codes: no NVML, nothing found, no kernel module
_SMI_NO_SUCH_FIELD = 2
_FEW = "name,memory.total,driver_version"
_ALL = f"{_FEW},compute_cap,power.limit,clocks.sm,clocks.max.sm,clocks.mem,clocks.max.mem"
_NO_DEVICE, _STUB, _MAJOR, _MINOR = 100, 34, 75, 76  # CUresult and CUdevice_attribute of the driver API
_SMI_SECONDS = 50.0
_MIB = 2**20


class NotThere(Exception):
    """This source is not on the host."""


def nvml() -> Gpu | None:
    """NVML through `pynvml`, which knows everything."""
    try:
        import pynvml
    except ImportError:
        raise NotThere from None
    try:
        pynvml.nvmlInit()
        one = driver.handle(pynvml)
        return _by_nvml(pynvml, one) if one is not None else None
    except pynvml.NVMLError as error:
        code = getattr(error, "value", None)
        if code == pynvml.NVML_ERROR_LIBRARY_NOT_FOUND:
            raise NotThere from None
        if code == pynvml.NVML_ERROR_DRIVER_NOT_LOADED and not _card_is_there():
            return None
        _fails(f"NVML says: {error}")


def _by_nvml(pynvml: Any, one: Any) -> Gpu:
    def known(ask: Callable[..., Answer], *arguments: Any) -> Answer | None:
        try:
            return ask(*arguments)
        except pynvml.NVMLError as error:
            if error.value in (pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.NVML_ERROR_FUNCTION_NOT_FOUND):
                return None
            raise

    sm, memory = pynvml.NVML_CLOCK_SM, pynvml.NVML_CLOCK_MEM
    cuda, capability = (
        known(pynvml.nvmlSystemGetCudaDriverVersion),
        known(pynvml.nvmlDeviceGetCudaComputeCapability, one),
    )
    milliwatts = known(pynvml.nvmlDeviceGetEnforcedPowerLimit, one)
    return Gpu(
        name=driver.text(pynvml.nvmlDeviceGetName(one)),
        memory_bytes=pynvml.nvmlDeviceGetMemoryInfo(one).total,
        driver=driver.text(pynvml.nvmlSystemGetDriverVersion()),
        cuda=cuda and _cuda_version(cuda),
        compute_capability=capability and "{}.{}".format(*capability),
        power_limit_watts=milliwatts and milliwatts / 1000,
        sm_clock_mhz=known(pynvml.nvmlDeviceGetClockInfo, one, sm),
        max_sm_clock_mhz=known(pynvml.nvmlDeviceGetMaxClockInfo, one, sm),
        memory_clock_mhz=known(pynvml.nvmlDeviceGetClockInfo, one, memory),
        max_memory_clock_mhz=known(pynvml.nvmlDeviceGetMaxClockInfo, one, memory),
        source="nvml",
    )


def nvidia_smi() -> Gpu | None:
    """The driver's command; it does not say which CUDA the driver runs."""
    program = shutil.which("nvidia-smi")
    if not program:
        raise NotThere
    done = _smi(program, _ALL)
    if done.returncode == _SMI_NO_SUCH_FIELD:  # a driver of before 2021
        done = _smi(program, _FEW)
    said = (done.stdout.strip() or done.stderr.strip()).splitlines()
    if done.returncode == _SMI_NOT_THERE:
        raise NotThere
    if done.returncode == _SMI_NO_DEVICE or (done.returncode == 0 and (not said or "No devices" in said[0])):
        return None
    if done.returncode == _SMI_NOT_LOADED and not _card_is_there():
        return None
    if done.returncode:
        _fails(f"nvidia-smi ended with code {done.returncode}: {said[0] if said else 'it said nothing'}")
    return _by_smi(said[0])


def _smi(program: str, fields: str) -> subprocess.CompletedProcess[str]:
    which = [f"--id={chosen}"] if (chosen := driver.visible()) else []
    command = [program, *which, f"--query-gpu={fields}", "--format=csv,noheader,nounits"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=_SMI_SECONDS, check=False)
    except OSError as error:
        _fails(f"nvidia-smi cannot be run: {error}")
    except subprocess.TimeoutExpired:
        _fails(f"nvidia-smi did not answer within {_SMI_SECONDS:.0f} s")


def _by_smi(line: str) -> Gpu:
    cells = [None if cell.strip().startswith("[") else cell.strip() for cell in line.split(",")]  # "[N/A]"
    if len(cells) not in (3, 9) or not cells[0] or not cells[1]:
        _fails(f"nvidia-smi answered {line!r}")
    name, memory = cells[0], cells[1]
    version, capability, power, *clocks = cells[2:] + [None] * (9 - len(cells))
    sm, max_sm, mem, max_mem = (int(clock) if clock else None for clock in clocks)
    return Gpu(
        name=name,
        memory_bytes=int(memory) * _MIB,
        driver=version,
        compute_capability=capability,
        power_limit_watts=float(power) if power else None,
        sm_clock_mhz=sm,
        max_sm_clock_mhz=max_sm,
        memory_clock_mhz=mem,
        max_memory_clock_mhz=max_mem,
        source="nvidia-smi",
    )


def libcuda() -> Gpu | None:
    """CUDA's driver API: all that a container has which was given the device to compute on, and nothing more."""
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        raise NotThere from None
    code = cuda.cuInit(0)
    if code == _STUB:
        raise NotThere
    if code == _NO_DEVICE:
        return None
    if code:
        _fails(f"cuInit says {_cuda_error(cuda, code)}")
    name, memory, major, minor, version = (
        ctypes.create_string_buffer(256),
        ctypes.c_size_t(),
        ctypes.c_int(),
        ctypes.c_int(),
        ctypes.c_int(),
    )
    device = ctypes.c_int()
    for code in (
        cuda.cuDeviceGet(ctypes.byref(device), 0),
        cuda.cuDeviceGetName(name, len(name), device),
        cuda.cuDeviceTotalMem_v2(ctypes.byref(memory), device),
        cuda.cuDeviceGetAttribute(ctypes.byref(major), _MAJOR, device),
        cuda.cuDeviceGetAttribute(ctypes.byref(minor), _MINOR, device),
        cuda.cuDriverGetVersion(ctypes.byref(version)),
    ):
        if code:
            _fails(f"CUDA says {_cuda_error(cuda, code)}")
    return Gpu(
        name=name.value.decode(),
        memory_bytes=memory.value,
        cuda=_cuda_version(version.value),
        compute_capability=f"{major.value}.{minor.value}",
        source="libcuda",
    )


SOURCES: tuple[Callable[[], Gpu | None], ...] = (nvml, nvidia_smi, libcuda)


def _cuda_version(number: int) -> str:
    """13020 → "13.2"."""
    return f"{number // 1000}.{number % 1000 // 10}"


def _cuda_error(cuda: Any, code: int) -> str:
    words = ctypes.c_char_p()
    cuda.cuGetErrorString(code, ctypes.byref(words))
    return f"{words.value.decode() if words.value else 'an error'} (code {code})"


def _card_is_there() -> bool:
    """Whether the machine has an NVIDIA display or 3D controller, driver or not."""
    for vendor in _PCI.glob("*/vendor"):
        if vendor.read_text().strip() == _NVIDIA and (vendor.parent / "class").read_text().startswith(_DISPLAY):
            return True
    return False


def _fails(reason: str) -> NoReturn:
    raise DriverError(
        f"the NVIDIA driver is there and does not work: {reason}",
        "see what nvidia-smi says; after an update of the driver the host must be restarted, and in a container the "
        "device must be passed on",
    )
