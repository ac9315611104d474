"""What the kernel's files say of a host, of kernels that are made up."""

from __future__ import annotations

import os

import pytest
from support.proc_tree import Kernel

from nightgate.measure import counters
from nightgate.measure.counters import Counters, Program

OWN = 700


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    monkeypatch.setattr(counters.os, "sched_getaffinity", lambda _: {1, 3})
    monkeypatch.setattr(counters.os, "sysconf", lambda name: {"SC_CLK_TCK": 100}[name])
    return Kernel(tmp_path)


@pytest.fixture
def clock(monkeypatch):
    """``clock.now = …`` is what `time.monotonic` says."""

    class Clock:
        now = 0.0

    monkeypatch.setattr(counters.time, "monotonic", lambda: Clock.now)
    return Clock


def test_the_cores_that_can_be_used_count_and_no_other(kernel):
    kernel.cores(
        cpu0="9000 9000 9000 0 0 0 0 9000 0 0", cpu1="100 20 3 5000 400 50 60 7 11 2", cpu3="1000 200 30 6 0 0 0 40 0 0",
        cpu10="8000 0 0 0 0 0 0 8000 0 0",
    )  # fmt: skip
    found = counters.read(kernel.root)
    # neither idle, waiting for disks nor interrupts; guests are in the user's time already
    assert (found.cores, found.busy, found.stolen) == (2, 13.53, 0.47)


def test_processes_are_read_with_whatever_they_are_called(kernel):
    kernel.program(41, 1, "a) R (b", 130, 4, (500, 66))
    kernel.write("proc/42/stat", "42 (gone")
    kernel.write("proc/43/comm", "has no stat")
    kernel.write("proc/version", "Linux")
    assert counters.read(kernel.root).programs == {41: Program(1, "a) R (b", 1.34, 5.66)}


def test_what_is_not_there_is_said_and_no_error(kernel):
    found = counters.read(kernel.root)
    assert (found.busy, found.stolen, found.throttled, found.hot, found.waited) == (None,) * 5
    assert found.unread == (
        "how busy the cores are (No such file or directory)", "the limit of the cgroup (no cpu.stat)",
        "throttling for heat (no thermal_throttle)", "waiting for a core (No such file or directory)",
    )  # fmt: skip


def test_a_sandbox_that_numbers_its_cores_otherwise_is_not_guessed_at(kernel):
    kernel.cores(cpu0="1 1 1 1 1 1 1 1 1 1", cpu2="1 1 1 1 1 1 1 1 1 1")
    found = counters.read(kernel.root)
    assert found.busy is None
    assert "how busy the cores are (proc/stat has no line of the cores that can be used)" in found.unread


def test_of_nested_cgroups_the_one_that_holds_back_longest_counts(kernel):
    kernel.write("proc/self/cgroup", "0::/pod/box\n")
    kernel.write("sys/fs/cgroup/pod/box/cpu.stat", "usage_usec 5\nnr_throttled 3\nthrottled_usec 1500000\n")
    kernel.write("sys/fs/cgroup/pod/cpu.stat", "usage_usec 5\nnr_throttled 4\nthrottled_usec 2500000\n")
    kernel.write("sys/fs/cgroup/cpu.stat", "usage_usec 5\n")
    kernel.write("sys/fs/cgroup/other/cpu.stat", "throttled_usec 9900000\n")
    assert counters.read(kernel.root).throttled == 2.5


@pytest.mark.parametrize("mounted", ["cpu,cpuacct", "cpu"])
def test_the_older_cgroups_count_in_nanoseconds(kernel, mounted):
    kernel.write("proc/self/cgroup", "7:memory:/elsewhere\n4:cpu,cpuacct:/box\n3:cpuset:/\n1:name=systemd:/\n")
    kernel.write(f"sys/fs/cgroup/{mounted}/box/cpu.stat", "nr_periods 4\nnr_throttled 2\nthrottled_time 750000000\n")
    assert counters.read(kernel.root).throttled == 0.75


def test_heat_is_that_of_the_hottest_core_or_package(kernel):
    for cpu, name, milliseconds in ((0, "core", 30), (3, "package", 4500), (1, "core", 200)):
        kernel.write(
            f"sys/devices/system/cpu/cpu{cpu}/thermal_throttle/{name}_throttle_total_time_ms", f"{milliseconds}\n"
        )
    kernel.write("sys/devices/system/cpu/cpu1/thermal_throttle/core_throttle_count", "99999\n")
    assert counters.read(kernel.root).hot == 4.5


def test_waiting_is_that_of_some_process(kernel):
    kernel.pressure(12_345_678)
    assert counters.read(kernel.root).waited == 12.345678


def reading(at, **known):
    return Counters(at=at, cores=2, **known)


def processes(own=0.0, own_gone=0.0, child=None, **others):
    found = {1: Program(0, "init", 50.0, 900.0), OWN: Program(1, "python3", own, own_gone)}
    if child is not None:
        found[701] = Program(OWN, "child", child, 0.0)
        found[702] = Program(701, "grandchild", 0.25, 0.0)
    return found | {800 + place: Program(1, name, seconds, 0.0) for place, (name, seconds) in enumerate(others.items())}


def test_others_are_whatever_is_busy_beyond_our_processes():
    first = reading(10.0, busy=100.0, stolen=3.0, programs=processes(own=20.0, gcc=7.0, rustc=30.0))
    last = reading(14.0, busy=106.0, stolen=4.5, programs=processes(own=21.5, child=1.0, gcc=7.25, rustc=32.5))
    found = counters.between(first, last, {OWN})
    # 6 s were busy, of which ours were 1.5 + 1 + 0.25
    assert found.others == pytest.approx(3.25 / 4)
    assert found.program == "rustc"
    assert found.stolen == pytest.approx(1.5 / 7.5)
    assert found.seconds == 4.0


def test_a_child_that_is_gone_counts_with_its_parent():
    first = reading(0.0, busy=100.0, programs=processes(own=1.0, own_gone=2.0, child=5.0))
    last = reading(2.0, busy=101.5, programs=processes(own=1.0, own_gone=8.75))  # 5.25 of it were spent before
    assert counters.between(first, last, {OWN}).others == pytest.approx(0.0)


def test_a_server_that_was_started_anew_meanwhile_is_still_ours():
    """All it ever took is its parent's when it ends, and was taken for what another program did in the time between."""

    def server(pid, seconds, gone, parent=600):
        return {pid: Program(parent, "postgres", seconds, gone), pid + 1: Program(pid, "postgres", 0.5, 0.0)}

    keeper = {600: Program(1, "keeper", 0.1, 3.0)}
    first = reading(10.0, busy=100.0, programs=processes(own=1.0) | keeper | server(710, 2.0, 5.0))
    after = {600: Program(1, "keeper", 0.2, 12.0)}  # 9 s more, of which the server had taken 7.5 before
    last = reading(20.0, busy=104.1, programs=processes(own=2.0) | after | server(720, 0.25, 0.25))
    found = counters.between(first, last, {OWN, 710, 711, 720, 721})
    # of the 4.1 s ours took 1, the old server 1.5, the new one 1.0
    assert found.others == pytest.approx((4.1 - 1.0 - 1.5 - 1.0) / 10)


@pytest.mark.parametrize("parent", [599, 699])
def test_a_server_that_ended_out_of_sight_took_nothing_more(parent):
    first = reading(10.0, busy=100.0, programs=processes(own=1.0) | {710: Program(parent, "postgres", 7.0, 5.0)})
    last = reading(20.0, busy=104.0, programs=processes(own=2.0))
    assert counters.between(first, last, {OWN, 710}).others == pytest.approx(0.3)


def test_nobody_is_named_who_did_less_than_half():
    first = reading(0.0, busy=10.0, programs=processes(cc1=1.0, ld=1.0))
    last = reading(1.0, busy=11.0, programs=processes(cc1=1.25, ld=1.25))  # the rest has come and gone
    found = counters.between(first, last, {OWN})
    assert (found.others, found.program) == (1.0, None)


def test_programs_of_one_name_count_together():
    first = reading(0.0, busy=10.0, programs={})
    made = {pid: Program(1, "cc1", 0.25, 0.0) for pid in (5, 6, 7)} | {8: Program(1, "python3", 0.4, 0.0)}
    assert counters.between(first, reading(2.0, busy=11.25, programs=made), {OWN}).program == "cc1"


def test_a_kernel_that_counts_nothing_is_not_taken_for_a_quiet_one():
    first, last = (
        reading(0.0, busy=0.0, stolen=0.0, programs=processes(own=1.0)),
        reading(2.0, busy=0.0, stolen=0.0, programs=processes(own=2.5)),
    )
    found = counters.between(first, last, {OWN})
    assert (found.others, found.stolen) == (None, None)


def test_shares_are_of_the_time_between():
    first = reading(5.0, throttled=1.0, hot=2.0, waited=3.0)
    last = reading(9.0, throttled=2.0, hot=2.5, waited=9.0)
    found = counters.between(first, last, {OWN})
    assert (found.throttled, found.hot, found.waited) == (0.25, 0.125, 1.0)
    assert (found.others, found.stolen, found.program) == (None, None, None)


def test_no_time_between_two_readings_says_nothing():
    assert counters.between(reading(1.0, busy=1.0), reading(1.0, busy=1.0), {OWN}).others is None


def test_a_circle_of_parents_ends():
    circle = {5: Program(6, "a", 1.0, 0.0), 6: Program(5, "b", 1.0, 0.0)}
    assert counters.between(reading(0.0, busy=0.0), reading(1.0, busy=1.0, programs=circle), {OWN}).others == 1.0


def test_this_kernel_is_read():
    first = counters.read()
    sum(range(2_000_000))
    last = counters.read()
    assert os.getpid() in last.programs
    assert last.at > first.at
