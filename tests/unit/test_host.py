"""Which machine this is and how quiet it is, on machines that are made up."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import pytest

from nightgate.errors import DriverError
from nightgate.measure import host
from nightgate.record import Gpu

CPUINFO = "processor\t: 0\nmodel name\t: EPYC 7: a test\nprocessor\t: 1\nmodel name\t: another\n"


@pytest.fixture(autouse=True)
def forgetful():
    host.describe.cache_clear()
    yield
    host.describe.cache_clear()


def card(name="H100", gib=79.6, **known):
    return Gpu(name=name, memory_bytes=int(gib * 2**30), source="nvml", **known)


@pytest.fixture
def machine(monkeypatch):
    """``machine(memory=…)``: what `describe` finds on it."""

    def described(*, cpu="EPYC", cores=2, memory=24 * 2**30, gpu=None, kind="x86_64"):
        host.describe.cache_clear()
        monkeypatch.setattr(host, "_cpu_model", lambda: cpu)
        monkeypatch.setattr(host.os, "cpu_count", lambda: cores)
        monkeypatch.setattr(host, "_memory_bytes", lambda: memory)
        monkeypatch.setattr(host.devices, "gpu", lambda: gpu)
        monkeypatch.setattr(host.platform, "machine", lambda: kind)
        return host.describe()

    return described


def test_a_host_is_described_by_what_does_not_drift(machine):
    found = machine(memory=25_200_000_000, gpu=card(sm_clock_mhz=1980))
    assert (found.cpu, found.cores, found.memory_bytes, found.gpu) == ("EPYC", 2, 25_200_000_000, "H100")
    assert found.gpu_facts == card(sm_clock_mhz=1980)
    # 25.2e9 bytes are 23.5 GiB: the class of 24
    assert found.fingerprint == hashlib.sha256(b"EPYC|2|24|H100, 80 GiB|x86_64").hexdigest()[:12]
    assert host.describe() is found, "it is asked once"


def test_a_host_without_a_card_keeps_the_fingerprint_it_had_before_cards_were_described(machine):
    found = machine()
    assert found.fingerprint == hashlib.sha256(b"EPYC|2|24|None|x86_64").hexdigest()[:12]
    assert (found.gpu, found.gpu_facts, found.gpu_fault) == (None, None, None)


def test_the_fingerprint_moves_with_the_machine_and_not_with_the_kernel(machine):
    same = machine().fingerprint
    assert machine(memory=24 * 2**30 - 2**30).fingerprint == same
    others = [
        machine(cpu="Xeon"), machine(cores=4), machine(memory=32 * 2**30), machine(kind="arm64"),
        machine(gpu=card()), machine(gpu=card("L4")), machine(gpu=card(gib=40)),
    ]  # fmt: skip
    assert len({same, *(other.fingerprint for other in others)}) == 8
    assert machine(cores=None).cores == 1


def test_the_fingerprint_does_not_move_with_what_a_card_is_doing(machine):
    cold = machine(gpu=card(sm_clock_mhz=345, power_limit_watts=700))
    busy = machine(gpu=card(gib=79.1, sm_clock_mhz=1980, power_limit_watts=650, driver="590.1"))  # as CUDA counts it
    assert cold.fingerprint == busy.fingerprint


def test_a_host_whose_driver_fails_is_described_with_the_fault(machine, monkeypatch, caplog):
    def fails():
        raise DriverError("the driver does not work: lost", "restart")

    without = machine()
    monkeypatch.setattr(host.devices, "gpu", fails)
    host.describe.cache_clear()
    found = host.describe()
    assert (found.gpu, found.gpu_facts) == (None, None)
    assert found.gpu_fault == "the driver does not work: lost. Next step: restart"
    assert found.fingerprint == without.fingerprint
    assert "the driver does not work: lost" in caplog.text


def test_the_canary_is_the_median_of_twenty_rounds_and_their_spread(monkeypatch):
    # rounds of 1 … 20 seconds in a mixed order: median 11, quartiles 6 and 16
    rounds = [7, 20, 1, 14, 3, 11, 18, 5, 9, 16, 2, 13, 6, 19, 4, 10, 17, 8, 12, 15]
    readings = iter([reading for seconds in rounds for reading in (1000.0, 1000.0 + seconds)])
    monkeypatch.setattr(host.time, "perf_counter", lambda: next(readings))
    assert host.canary() == {"seconds": 11.0, "spread": 10 / 11}
    assert next(readings, None) is None


def test_the_canary_computes_something():
    found = host.canary()
    assert found["seconds"] > 0.0005, "squares of a hundred thousand numbers take a while"
    assert found["spread"] >= 0


@pytest.fixture
def noise(monkeypatch):
    canaries, loads = iter([{"seconds": 1.0}, {"seconds": 2.0}]), iter([(0.5, 9, 9), (0.75, 9, 9)])
    monkeypatch.setattr(host, "canary", lambda: next(canaries))
    monkeypatch.setattr(host.os, "getloadavg", lambda: next(loads))


BEFORE = {"canary_before": {"seconds": 1.0}, "load_before": 0.5}
AFTER = {"canary_after": {"seconds": 2.0}, "load_after": 0.75}


def test_noise_is_read_before_and_after(tmp_path, noise):
    with host.quiet(tmp_path / "deep" / "locks") as seen:
        assert seen == BEFORE
        assert [path.name for path in (tmp_path / "deep" / "locks").iterdir()] == ["measure.lock"]
    assert seen == BEFORE | AFTER


def test_noise_is_read_after_a_measurement_that_failed(tmp_path, noise):
    with pytest.raises(ZeroDivisionError), host.quiet(tmp_path) as seen:
        raise ZeroDivisionError
    assert seen == BEFORE | AFTER


def test_one_measures_and_the_other_waits(tmp_path, noise, monkeypatch, caplog):
    """The second asks twice: first without waiting, so that it can say that it waits."""
    asked, lock = [], host.fcntl.flock

    def flock(file, how):
        asked.append((file.name, how))
        if how & host.fcntl.LOCK_NB:
            lock(file, how)

    with open(tmp_path / "measure.lock", "w") as other, caplog.at_level(logging.INFO):
        lock(other, host.fcntl.LOCK_EX)
        monkeypatch.setattr(host.fcntl, "flock", flock)
        with host.quiet(tmp_path):
            pass
        name = str(tmp_path / "measure.lock")
        assert asked == [(name, host.fcntl.LOCK_EX | host.fcntl.LOCK_NB), (name, host.fcntl.LOCK_EX)]
        assert "another measurement runs on this host" in caplog.text


def test_the_host_is_held_while_it_is_measured_and_free_afterwards(tmp_path, noise):
    with host.quiet(tmp_path), open(tmp_path / "measure.lock", "w") as other:
        with pytest.raises(BlockingIOError):
            host.fcntl.flock(other, host.fcntl.LOCK_EX | host.fcntl.LOCK_NB)
        with pytest.raises(BlockingIOError):
            host.fcntl.flock(other, host.fcntl.LOCK_SH | host.fcntl.LOCK_NB)
    with open(tmp_path / "measure.lock", "w") as other:
        host.fcntl.flock(other, host.fcntl.LOCK_EX | host.fcntl.LOCK_NB)


def test_the_processor_is_named_by_the_kernel(monkeypatch):
    monkeypatch.setattr(Path, "read_text", lambda path: CPUINFO if str(path) == "/proc/cpuinfo" else "")
    assert host._cpu_model() == "EPYC 7: a test"


@pytest.mark.parametrize(("processor", "named"), [("arm", "arm"), ("", "aarch64")])
@pytest.mark.parametrize("there", [True, False])
def test_a_kernel_that_names_none_leaves_it_to_the_platform(monkeypatch, processor, named, there):
    def read(path):
        if there:
            return "processor\t: 0\n"
        raise FileNotFoundError(path)

    monkeypatch.setattr(Path, "read_text", read)
    monkeypatch.setattr(host.platform, "processor", lambda: processor)
    monkeypatch.setattr(host.platform, "machine", lambda: "aarch64")
    assert host._cpu_model() == named


def test_memory_is_pages_times_their_size(monkeypatch):
    sizes = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 1000}
    monkeypatch.setattr(host.os, "sysconf", sizes.__getitem__)
    assert host._memory_bytes() == 4_096_000
