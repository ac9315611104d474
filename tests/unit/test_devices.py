"""Is there a GPU, and which: drivers that are made up, asked in a real process of their own."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from support import child_targets, fake_nvml

from nightgate.errors import DriverError, NotMeasured, Unavailable
from nightgate.measure import device_memory, device_sources, devices, nvml
from nightgate.measure.child import ChildResult, run_child
from nightgate.measure.device_memory import DeviceMemory, Watch, add_peak
from nightgate.record import Gpu, Record

H100 = fake_nvml.H100
L4 = H100 | {"name": "NVIDIA L4", "uuid": "GPU-bbbb", "total": 24 * 2**30, "watts": None}
MISMATCH = {18: "Driver/library version mismatch"}


@pytest.fixture(autouse=True)
def bare(tmp_path, monkeypatch):
    """A host on which no trace of a driver is found, whatever the real one has; returns a folder that a child sees first."""
    forget = devices.gpu.cache_clear
    forget()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    paths = [str(tmp_path), str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    monkeypatch.setattr(devices, "_TRACES", ())
    monkeypatch.setattr(devices, "find_spec", lambda name: (tmp_path / f"{name}.py").exists())
    yield tmp_path
    forget()


@pytest.fixture
def here(bare, monkeypatch):
    """``here(*cards, …)``: the made-up `pynvml` of `fake_nvml`, in this process as well."""

    def installed(*cards, **told):
        fake_nvml.install(bare, *cards, **told)
        monkeypatch.delitem(sys.modules, "pynvml", raising=False)
        monkeypatch.syspath_prepend(str(bare))

    yield installed
    sys.modules.pop("pynvml", None)


def test_nvml_tells_all_of_the_first_device(bare):
    fake_nvml.install(bare, H100, L4)
    assert devices.gpu() == Gpu(
        name="NVIDIA H100 80GB HBM3", memory_bytes=85_520_809_984, driver="580.65.06", cuda="13.0", compute_capability="9.0",
        power_limit_watts=700.0, sm_clock_mhz=345, max_sm_clock_mhz=1980, memory_clock_mhz=2619, max_memory_clock_mhz=2620,
        source="nvml",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("chosen", "name"),
    [("1", "NVIDIA L4"), ("1,0", "NVIDIA L4"), ("GPU-b", "NVIDIA L4"), ("GPU-aaaa", H100["name"]), ("2", None), ("GPU-c", None)],
)  # fmt: skip
def test_the_device_is_the_one_that_cuda_would_take(bare, monkeypatch, chosen, name):
    fake_nvml.install(bare, H100, L4)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    found = devices.gpu()
    assert (found and found.name) == name
    assert found is None or chosen.startswith("GPU-a") or found.power_limit_watts is None, "it does not say"


def test_a_slice_of_a_device_is_found_by_its_identifier(here, monkeypatch):
    here(H100, L4 | {"uuid": "MIG-cccc", "name": "a slice"})
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-cccc")
    assert device_sources.nvml().name == "a slice"


@pytest.mark.parametrize("chosen", ["", "-1"])
def test_a_hidden_device_is_none_and_nobody_is_asked(bare, monkeypatch, chosen):
    fake_nvml.install(bare, H100, crash=True)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    assert devices.gpu() is None


def test_without_a_trace_of_a_driver_no_process_is_started(monkeypatch):
    monkeypatch.setattr(devices, "run_child", lambda *_, **__: pytest.fail("asked"))
    assert devices.gpu() is None


def test_a_trace_alone_is_no_device(bare, monkeypatch):
    fake_nvml.install(bare, error=12)  # the binding without the library
    monkeypatch.setattr(devices, "_TRACES", (str(bare),))
    if Path("/dev/nvidiactl").exists():
        pytest.skip("libcuda of this host would answer")
    assert devices.gpu() is None


def test_a_driver_that_fails_is_an_error_with_its_reason(bare):
    fake_nvml.install(bare, H100, error=18, words=MISMATCH)
    with pytest.raises(
        DriverError, match="does not work: NVML says: Driver/library version mismatch. Next step: "
    ) as caught:
        devices.gpu()
    assert isinstance(caught.value, NotMeasured), "failed, and not skipped"


def test_a_driver_that_brings_its_process_down_leaves_this_one_alive(bare):
    fake_nvml.install(bare, H100, crash=True)
    with pytest.raises(DriverError, match="cannot be asked: .*SIGABRT"):
        devices.gpu()


@pytest.mark.parametrize(("card", "fails"), [(True, True), (False, False)])
def test_a_driver_that_is_not_loaded_fails_where_there_is_a_card(here, bare, monkeypatch, card, fails):
    """An image with a driver in it also starts on machines without a card."""
    here(error=9, words={9: "Driver Not Loaded"})
    for name, vendor, kind in (("a", "0x10de" if card else "0x8086", "0x030200"), ("b", "0x10de", "0x040300")):
        (bare / "pci" / name).mkdir(parents=True)
        (bare / "pci" / name / "vendor").write_text(vendor + "\n")
        (bare / "pci" / name / "class").write_text(kind + "\n")
    monkeypatch.setattr(device_sources, "_PCI", bare / "pci")
    if fails:
        with pytest.raises(DriverError, match="Driver Not Loaded"):
            device_sources.nvml()
    else:
        assert device_sources.nvml() is None


def smi(folder, script):
    file = folder / "nvidia-smi"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)


ANSWER = "NVIDIA H200, 143771, 580.65.06, 9.0, 700.00, 345, 1980, 3201, [N/A]"


def test_nvidia_smi_is_asked_where_there_is_no_binding(bare):
    smi(bare, f"echo '{ANSWER}'; echo 'NVIDIA L4, 1, 1, 8.9, 1, 1, 1, 1, 1'")
    assert devices.gpu() == Gpu(
        name="NVIDIA H200", memory_bytes=143771 * 2**20, driver="580.65.06", compute_capability="9.0", power_limit_watts=700.0,
        sm_clock_mhz=345, max_sm_clock_mhz=1980, memory_clock_mhz=3201, source="nvidia-smi",
    )  # fmt: skip


def test_nvidia_smi_is_asked_for_the_device_that_cuda_would_take(bare, monkeypatch):
    smi(bare, 'echo "$1, 10, 1"')
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    assert device_sources.nvidia_smi().name == "--id=3"


def test_an_older_nvidia_smi_is_asked_for_less(bare):
    smi(bare, 'case "$*" in *compute_cap*) exit 2;; *) echo "Tesla T4, 15360, 470.1";; esac')
    assert device_sources.nvidia_smi() == Gpu(
        name="Tesla T4", memory_bytes=15360 * 2**20, driver="470.1", source="nvidia-smi"
    )


@pytest.mark.parametrize("script", ["exit 6", "echo No devices were found", "true"])
def test_nvidia_smi_that_finds_none_is_believed(bare, script):
    smi(bare, script)
    assert device_sources.nvidia_smi() is None


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo Failed to initialize NVML: Insufficient Permissions >&2; exit 4", "code 4: Failed to initialize NVML: Insuff"),
        ("exit 15", "code 15: it said nothing"),
        ("echo what is this", "nvidia-smi answered 'what is this'"),
    ],
)  # fmt: skip
def test_nvidia_smi_that_fails_is_an_error_with_its_words(bare, script, reason):
    smi(bare, script)
    with pytest.raises(DriverError, match=f"does not work: .*{reason}"):
        devices.gpu()


def test_nvidia_smi_that_hangs_or_cannot_be_run_is_an_error(bare, monkeypatch):
    smi(bare, "exec /bin/sleep 60")
    monkeypatch.setattr(device_sources, "_SMI_SECONDS", 0.2)
    with pytest.raises(DriverError, match="did not answer within"):
        device_sources.nvidia_smi()
    (bare / "nvidia-smi").write_bytes(b"\0")
    with pytest.raises(DriverError, match="cannot be run"):
        device_sources.nvidia_smi()


def test_nvidia_smi_without_nvml_is_not_there(bare):
    smi(bare, "exit 12")
    with pytest.raises(device_sources.NotThere):
        device_sources.nvidia_smi()


class Cuda:
    """`libcuda` as far as it is asked."""

    def __init__(self, init=0, total=0):
        self.init, self.total = init, total

    def cuInit(self, flags):
        return self.init

    def cuGetErrorString(self, code, words):
        words._obj.value = b"system has unsupported display driver / cuda driver combination" if code == 803 else None

    def cuDeviceGet(self, device, place):
        return 0

    def cuDeviceGetName(self, name, size, device):
        name.value = b"NVIDIA A100"
        return 0

    def cuDeviceTotalMem_v2(self, memory, device):
        memory._obj.value = 40 * 2**30
        return self.total

    def cuDeviceGetAttribute(self, value, which, device):
        value._obj.value = {75: 8, 76: 6}[which]
        return 0

    def cuDriverGetVersion(self, version):
        version._obj.value = 12020
        return 0


@pytest.mark.parametrize(("given", "reason"), [({"init": 803}, "cuInit says system has unsupported.*code 803"), ({"init": 999}, "an error .code 999"), ({"total": 2}, "CUDA says an error .code 2")])  # fmt: skip
def test_cuda_itself_that_fails_is_an_error(monkeypatch, given, reason):
    monkeypatch.setattr(device_sources.ctypes, "CDLL", lambda name: Cuda(**given))
    with pytest.raises(DriverError, match=reason):
        device_sources.libcuda()


def test_cuda_itself_answers_in_a_container_that_has_nothing_else(monkeypatch):
    monkeypatch.setattr(device_sources.ctypes, "CDLL", lambda name: Cuda())
    assert device_sources.libcuda() == Gpu(
        name="NVIDIA A100", memory_bytes=40 * 2**30, cuda="12.2", compute_capability="8.6", source="libcuda"
    )
    monkeypatch.setattr(device_sources.ctypes, "CDLL", lambda name: Cuda(init=100))
    assert device_sources.libcuda() is None
    monkeypatch.setattr(device_sources.ctypes, "CDLL", lambda name: Cuda(init=34))  # a library to link with only
    with pytest.raises(device_sources.NotThere):
        device_sources.libcuda()


def test_the_sources_are_asked_in_their_order_until_one_is_there(monkeypatch):
    asked = []

    def source(name, answer):
        def ask():
            asked.append(name)
            if answer == "absent":
                raise device_sources.NotThere
            return answer

        return ask

    found = Gpu(name="b", memory_bytes=1, source="nvml")
    monkeypatch.setattr(device_sources, "SOURCES", (source("a", "absent"), source("b", found), source("c", None)))
    assert devices.look(None) == found
    assert asked == ["a", "b"]
    monkeypatch.setattr(device_sources, "SOURCES", (source("d", None), source("e", found)))
    assert devices.look(None) is None, "a driver that sees none is believed"
    assert device_sources.nvml.__name__ == "nvml"


def test_a_device_that_is_required_is_there_or_unavailable(monkeypatch):
    with pytest.raises(Unavailable, match="this host has no NVIDIA device. Next step: do without"):
        devices.required("do without")
    there = Gpu(name="x", memory_bytes=1, source="nvml")
    monkeypatch.setattr(devices, "gpu", lambda: there)
    assert devices.required("do without") is there


def read(here, watch_pid, *, used, processes):
    """What a watch finds of these readings, the first of them before the child runs."""
    here(H100 | {"used": used, "processes": processes})
    watch = Watch()
    watch.pid = watch_pid
    left = iter(range(len(used) - 1))
    watch._stop = SimpleNamespace(wait=lambda seconds: next(left, None) is None, set=lambda: None)
    watch._run()
    return watch.found


def test_the_drivers_count_for_the_process_is_its_peak(here):
    processes = [[], [[7, 300], [8, 9_000]], [[7, 500], [8, 9_000]], [[7, None]]]
    assert read(here, 7, used=[100, 400, 9_600, 150, 100], processes=processes) == DeviceMemory(500, "process")


def test_where_no_process_is_counted_the_rise_of_the_device_is(here):
    assert read(here, 7, used=[100, 400, 950, 150], processes=[[[8, 9]]]) == DeviceMemory(850, "device")


def test_a_device_of_which_nothing_was_taken_has_no_peak(here):
    assert read(here, 7, used=[100, 90, 100], processes=[[]]) is None


@pytest.mark.parametrize("told", [{"error": 18}, {}])
def test_a_driver_that_cannot_be_read_takes_nothing_from_the_measurement(here, told):
    here(**told)
    with device_memory.watched() as watch:
        pass
    assert watch.found is None
    assert not [thread for thread in threading.enumerate() if thread is watch._thread]


def test_a_child_on_the_gpu_is_watched_and_one_on_the_cpu_is_not(here, bare):
    here(H100 | {"used": [1_000, 1_000, 5_000, 2_000]})
    assert run_child(child_targets.rest, None, threads=1).device_memory is None
    found = run_child(child_targets.rest, None, threads=1, device="gpu")
    assert found.device_memory == DeviceMemory(4_000, "device")


def test_the_most_that_any_process_took_goes_into_the_record():
    record = Record(benchmark="b", variant="v", device="gpu", status="measured")
    add_peak(record, [None])
    assert "peak_device_bytes" not in record.metrics
    add_peak(record, [None, DeviceMemory(5, "device"), DeviceMemory(9, "process"), DeviceMemory(7, "device")])
    assert (record.metrics["peak_device_bytes"].value, record.metrics["peak_device_bytes"].unit) == (9, "bytes")
    assert record.detail["peak_device_bytes_by"] == "process"
    assert ChildResult({}, 1, 1.0).device_memory is None


def test_what_nvml_says_is_text(bare):
    assert (nvml.text(b"a"), nvml.text("b")) == ("a", "b")
