"""Which machine this is and how quiet it is, on machines that are made up."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import pytest

from nightgate.errors import DriverError
from nightgate.facts import HostSample, Noise
from nightgate.measure import host, known_host
from nightgate.measure.known_host import Known
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


@pytest.fixture
def seen(monkeypatch, tmp_path):
    """What the host does is noted, and takes no time."""
    noted = []

    class Watch:
        def __init__(self, servers):
            noted.append(("watch", servers))

        def settle(self, seconds, patience, known):
            noted.append(("settle", seconds, patience, known))

        def sample(self, seconds):
            noted.append(("sample", seconds))

        def glance(self):
            noted.append("glance")

    def judged(noise, watch, file, *, tolerant):
        noted.append(("judged", file.parent.name, tolerant))
        noise.disturbed = "by a test"

    monkeypatch.delenv("NIGHTGATE_SHARED_HOST", raising=False)
    monkeypatch.setattr(host, "Watch", Watch)
    monkeypatch.setattr(host, "judged", judged)
    loads = iter([(0.5, 9, 9), (0.75, 9, 9)])
    monkeypatch.setattr(host.os, "getloadavg", lambda: next(loads))
    return noted


def test_the_host_is_watched_before_between_and_after(tmp_path, seen, caplog):
    host.glance()
    with host.quiet(tmp_path) as noise:
        assert seen == [("watch", ()), ("settle", 1.0, 30.0, [])]
        assert (noise.load_before, noise.load_after, noise.disturbed) == (0.5, None, None)
        host.glance()
    host.glance()
    assert seen[2:] == ["glance", ("sample", 1.0), ("judged", "hosts", False)]
    assert (noise.load_before, noise.load_after, noise.disturbed) == (0.5, 0.75, "by a test")
    assert "the host was not quiet: by a test" in caplog.text


def test_it_is_judged_after_a_measurement_that_failed(tmp_path, seen):
    with pytest.raises(ZeroDivisionError), host.quiet(tmp_path, ["postgres"]) as noise:
        raise ZeroDivisionError
    assert seen[0] == ("watch", ["postgres"])
    assert seen[-1] == ("judged", "hosts", False)
    assert noise.disturbed == "by a test"


@pytest.mark.parametrize(("value", "tolerant"), [("", False), (" ", False), ("1", True)])
def test_a_host_can_be_declared_as_shared(tmp_path, seen, monkeypatch, value, tolerant):
    monkeypatch.setenv("NIGHTGATE_SHARED_HOST", value)
    with host.quiet(tmp_path):
        pass
    assert seen[-1] == ("judged", "hosts", tolerant)
    assert seen[1] == ("settle", 1.0, 0.0 if tolerant else 30.0, []), "who never comes is not waited for"


@pytest.fixture
def looks(monkeypatch):
    """``looks(*found)``: what each look at the host finds, what disturbs it or how many cores others keep busy; a look takes
    a second. Returns when it looked."""

    def seen(*found):
        clock, asked, rest = [0.0], [], iter(found)

        def look(home):
            clock[0] += 1.0
            asked.append(clock[0])
            one = next(rest)
            return Noise(disturbed=one, cores=2) if isinstance(one, str) else Noise(others_at_rest=one, cores=2)

        monkeypatch.setattr(host, "look", look)
        monkeypatch.setattr(host.time, "monotonic", lambda: clock[0])
        return asked

    return seen


def test_a_host_is_quiet_after_three_quiet_samples_in_a_row(looks):
    asked = looks(None, 0.1, "gcc", None, "gcc", 0.0, 0.1, 0.15, "never asked")
    assert host.wait_until_quiet(Path("home"), 60)
    assert len(asked) == 8


def test_a_host_is_quiet_when_others_are_on_average(looks):
    asked = looks(0.39, 0.25, 0.15, 0.15, 0.35, 0.15, 0.05, "never asked")
    assert host.wait_until_quiet(Path("home"), 60)
    assert len(asked) == 4, "0.39, 0.25 and 0.15 are too much together, and 0.25, 0.15 and 0.15 are not"


def test_what_others_always_do_is_not_waited_for(looks, tmp_path):
    file = known_host.file_of(tmp_path, host.describe().fingerprint)
    one = Known(at="then", cpu=0.01, fastest=0.01, memory=6e9, cache=2e-9, others=0.25)
    known_host.add(file, [one] * 4, one)
    asked = looks(0.56, 0.55, 0.56, 0.3, "never asked")
    assert host.wait_until_quiet(tmp_path, 60)
    assert len(asked) == 4


def test_waiting_ends(looks):
    asked = looks(*["gcc"] * 9)
    assert not host.wait_until_quiet(Path("home"), 4)
    assert len(asked) == 4


def test_what_is_waited_for_is_said_and_not_too_often(looks, caplog):
    looks(*["gcc"] * 40, None, None, None)
    with caplog.at_level(logging.INFO):
        assert host.wait_until_quiet(Path("home"), 300)
    assert caplog.messages == [
        "waiting until the host is quiet, 299 s at most: gcc", "waiting until the host is quiet, 269 s at most: gcc",
    ]  # fmt: skip


def test_a_look_compares_with_what_is_known_and_adds_nothing(tmp_path, monkeypatch):
    known_host.add(
        file := known_host.file_of(tmp_path, host.describe().fingerprint), [],
        Known(at="then", cpu=0.001, fastest=0.001, memory=6e9, cache=2e-9),
    )  # fmt: skip
    found = host.look(tmp_path, 0.0)
    assert found.at_full_speed == 0.0, "the canary of these tests takes ten milliseconds"
    assert host.look(tmp_path / "elsewhere", 0.0).at_full_speed == 1.0
    assert [one.at for one in known_host.read(file)] == ["then"] == [one.at for one in host.known(tmp_path)]


def test_a_look_is_told_in_one_line():
    sample = HostSample(
        at=-1, seconds=1, cpu=0.0046, memory=5.24e9, cache=2.26e-9, late=62e-6, longest_gap=0, lost=0
    )  # fmt: skip
    now = Noise(samples=[sample], load_before=0.44, others_at_rest=0.31, cores=2)
    assert host.told(now) == (
        "canary: computing 4.6 ms, memory 5.2 GB/s, cache 2.3 ns, sleeps 62 µs late; load 0.4, other programs keep 0.3 of 2 cores busy"
    )
    assert host.told(now.model_copy(update={"others_at_rest": None})).endswith("load 0.4")


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
