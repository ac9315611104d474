"""What is told of a host that was watched, from readings that are made up."""

from __future__ import annotations

import os

import pytest

from nightgate.facts import Canary, HostSample, Noise
from nightgate.measure import known_host, watch
from nightgate.measure.canary import Readings
from nightgate.measure.counters import KERNEL_THREADS, Counters, Program
from nightgate.measure.known_host import Known

OTHER = 4711


class Host:
    """A host of three cores whose time goes on when it is sampled, and by `works`."""

    def __init__(self) -> None:
        self.now, self.busy, self.own, self.other, self.kernel, self.stolen = 100.0, 50.0, 5.0, 7.0, 1.0, 0.0
        self.sampled: list[float] = []
        self.cpu = 0.004
        self.others_in_samples = 0.0

    def works(self, seconds, own=0.0, other=0.0, kernel=0.0, stolen=0.0):
        self.now += seconds
        self.busy += own + other + kernel
        self.own, self.other, self.kernel = self.own + own, self.other + other, self.kernel + kernel
        self.stolen += stolen

    def read(self, root):
        programs = {
            1: Program(0, "init", 0.0, 0.0), os.getpid(): Program(1, "nightgate", self.own, 0.0),
            OTHER: Program(1, "make", self.other, 0.0), 9: Program(KERNEL_THREADS, "kworker", self.kernel, 0.0),
            KERNEL_THREADS: Program(0, "kthreadd", 0.0, 0.0),
        }  # fmt: skip
        return Counters(
            self.now,
            3,
            self.busy,
            self.stolen,
            programs,
            throttled=1.0,
            hot=None,
            waited=self.now / 4,
            unread=("heat",),
        )

    def sample(self, seconds):
        self.sampled.append(seconds)
        self.works(seconds, own=seconds, other=self.others_in_samples * seconds)
        return Readings((self.cpu, self.cpu * 1.5, self.cpu), (5e9, 6e9, 9e9), (3e-9, 2e-9, 1e-9), 6e-5, 0.0007, 0.01)


@pytest.fixture
def host(monkeypatch):
    made = Host()
    monkeypatch.setattr(watch, "Canary", lambda: made)
    monkeypatch.setattr(watch, "read", made.read)
    monkeypatch.setattr(watch.time, "monotonic", lambda: made.now)
    return made


def told(watching, known=()):
    found = Noise()
    watching.describe(found, known)
    return found


def test_others_are_counted_over_all_the_time(host):
    watching = watch.Watch()
    watching.sample(1.0)
    host.works(20, own=25.0, other=4.5, kernel=0.5, stolen=1.5)
    watching.sample(1.0)
    found = told(watching)
    # 20 s and the last sample: 4.5 s of another program; what the kernel's threads did, they did for us
    assert found.others == pytest.approx(4.5 / 21, rel=1e-3)
    assert found.stolen == pytest.approx(1.5 / (25.0 + 4.5 + 0.5 + 1.0 + 1.5), rel=1e-3)
    assert (found.program, found.cores, found.throttled, found.hot, found.waited) == ("make", 3, 0.0, None, 0.25)
    assert found.unread == ["heat"]
    first, last = found.samples
    assert (first.at, first.seconds, first.others, first.others_since, first.program) == (-1.0, 1.0, 0.0, None, None)
    assert (last.at, last.others, last.others_since, last.program) == (20.0, 0.0, 0.2143, "make")


def test_what_a_server_does_for_us_is_not_held_against_it(host):
    watching = watch.Watch(["make"])
    watching.sample(1.0)
    host.works(20, own=5.0, other=19.0)
    host.busy += 4.2
    host.others_in_samples = 0.25  # it should rest now
    watching.sample(1.0)
    found = told(watching)
    assert (found.others, found.loaded_share, found.program) == (0.2, 0.0, "make")
    assert (found.others_at_rest, found.loaded_at_rest) == (0.125, 0.0)
    assert [one.others_since for one in found.samples] == [None, 0.2]
    assert [one.others for one in found.samples] == [0.0, 0.25]


@pytest.mark.parametrize("servers", [[""], ["make", "qdrant"]])
def test_where_a_server_cannot_be_seen_samples_alone_tell(host, servers):
    watching = watch.Watch(servers)
    watching.sample(1.0)
    host.works(20, own=5.0, other=19.0, stolen=8.0)
    host.others_in_samples = 0.75
    watching.sample(3.0)
    found = told(watching)
    assert (found.others, found.loaded_share) == (None, None)
    assert (found.others_at_rest, found.loaded_at_rest) == (0.5625, 0.75)
    assert found.samples[1].others_since is None
    assert found.stolen == pytest.approx(8 / (5 + 19 + 3 + 0.75 * 3 + 8), rel=1e-3)


def test_without_a_server_samples_are_part_of_the_whole(host):
    watching = watch.Watch()
    watching.sample(1.0)
    watching.sample(1.0)
    assert (told(watching).others_at_rest, told(watching).loaded_at_rest) == (None, None)


def test_the_share_of_the_time_in_which_others_were_at_work(host):
    watching = watch.Watch()
    watching.sample(1.0)
    for seconds, other in ((9.8, 0.0), (5.8, 5.0), (3.8, 0.0)):
        host.works(seconds, other=other)
        watching.sample(0.2)
    found = told(watching)
    assert found.loaded_share == pytest.approx(6 / 20)
    assert found.others == pytest.approx(5 / 20)


def test_one_sample_alone_stands_for_itself(host):
    watching = watch.Watch()
    host.others_in_samples = 0.75
    watching.sample(2.0)
    found = told(watching)
    assert (found.others, found.loaded_share, found.waited) == (None, None, 0.25)
    assert (found.others_at_rest, found.loaded_at_rest, found.program) == (0.75, 1.0, "make")


def test_medians_of_the_canary(host):
    watching = watch.Watch()
    watching.sample(1.0)
    host.cpu = 0.008
    watching.sample(1.0)
    found = told(watching)
    assert found.canary_before == Canary(seconds=0.004, spread=0.5)
    assert found.canary_after == Canary(seconds=0.008, spread=0.5)
    assert found.samples[0] == HostSample(
        at=-1.0, seconds=1.0, cpu=0.004, at_full_speed=0.6667, memory=6e9, cache=2e-9, late=6e-5, longest_gap=0.0007, lost=0.01, others=0.0,
    )  # fmt: skip
    # 4, 4, 6, 8, 8 and 12 ms
    assert (found.at_full_speed, found.slowdown) == (0.3333, 2.0)
    assert watching.known(found).model_dump(exclude={"at"}) == {
        "cpu": 0.007, "fastest": 0.004, "memory": 6e9, "cache": 2e-9, "others": 0.0, "stolen": 0.0, "lost": 0.01,
    }  # fmt: skip
    assert told(watching, [Known(at="", cpu=1, fastest=0.001, memory=1, cache=1)]).at_full_speed == 0.0


def test_glances_are_at_least_five_seconds_apart_and_take_at_most_a_twentieth(host):
    watching = watch.Watch()
    watching.sample(1.0)
    for _ in range(60):
        watching.glance()
        host.works(0.1)
    assert host.sampled == [1.0, 0.2], "after five seconds, and not again within six"
    start = host.now
    while host.now < start + 60:
        watching.glance()
        host.works(0.05)
    assert 8 <= len(host.sampled) - 2 <= 12


def test_a_long_measurement_has_no_more_samples_than_one_reads(host):
    watching = watch.Watch()
    watching.sample(1.0)
    while host.now < 3600:
        watching.glance()
        host.works(0.5)
    assert 40 < len(host.sampled) < 110


def test_a_slow_glance_is_followed_by_a_long_pause(host):
    watching = watch.Watch()
    watching.sample(1.0)
    host.works(6)
    slow, host.sample = host.sample, lambda seconds: slow(1.5)
    watching.glance()
    host.works(29)
    watching.glance()
    assert host.sampled == [1.0, 1.5]
    host.works(2)
    watching.glance()
    assert host.sampled == [1.0, 1.5, 1.5]


def test_a_measurement_begins_in_a_quiet_moment(host, caplog):
    watching, host.others_in_samples = watch.Watch(), 0.9
    plain = host.sample

    def sample(seconds):
        found = plain(seconds)
        host.others_in_samples = 0.9 if len(host.sampled) < 4 else 0.0
        return found

    host.sample = sample
    with caplog.at_level("INFO"):
        watching.settle(1.0, 30.0, [])
    assert host.sampled == [1.0] * 5
    (first,) = told(watching).samples
    assert (first.at, first.others) == (-1.0, 0.0), "what was before is no part of it"
    assert caplog.messages == [
        "the measurement waits for a quiet moment, 30 s at most: another program (make) kept 0.9 of 3 cores busy all the time"
    ]  # fmt: skip


@pytest.mark.parametrize(("patience", "samples"), [(0.0, 1), (3.0, 3)])
def test_it_begins_all_the_same_when_none_comes(host, patience, samples):
    watching, host.others_in_samples = watch.Watch(), 0.9
    watching.settle(1.0, patience, [])
    assert host.sampled == [1.0] * samples


@pytest.fixture
def file(tmp_path):
    return known_host.file_of(tmp_path, "abc")


def disturbed_by(host, other):
    watching = watch.Watch()
    watching.sample(1.0)
    host.works(9, other=other)
    watching.sample(1.0)
    return watching


def test_a_quiet_measurement_is_remembered(host, file):
    found = Noise()
    watch.judged(found, disturbed_by(host, 0.0), file, tolerant=False)
    assert (found.disturbed, found.tolerated) == (None, None)
    (one,) = known_host.read(file)
    assert (one.cpu, one.fastest) == (0.004, 0.004)


@pytest.mark.parametrize("tolerant", [False, True])
def test_a_disturbed_one_is_not(host, file, tolerant):
    found = Noise()
    watch.judged(found, disturbed_by(host, 8.0), file, tolerant=tolerant)
    sentence = "another program (make) kept 0.8 of 3 cores busy all the time"
    assert (found.disturbed, found.tolerated) == ((None, sentence) if tolerant else (sentence, None))
    assert known_host.read(file) == []


def test_one_that_was_slow_for_no_reason_to_be_seen_is_remembered(host, file):
    """If the host stays so, this is how it is."""
    for number in range(10):
        known_host.add(
            file, known_host.read(file), Known(at=str(number), cpu=0.001, fastest=0.001, memory=6e9, cache=2e-9)
        )
    found = Noise()
    watch.judged(found, disturbed_by(host, 0.0), file, tolerant=False)
    assert found.disturbed == "computing took 4.0 × as long as in the last 10 quiet measurements"
    assert len(known_host.read(file)) == 11


def test_what_never_rests_is_remembered_although_it_disturbs_at_first(host, file):
    sentences = []
    for _ in range(6):
        found = Noise()
        watch.judged(found, disturbed_by(host, 4.0), file, tolerant=False)
        sentences.append(found.disturbed)
    assert sentences == ["another program (make) kept 0.4 of 3 cores busy on average"] * 5 + [None]
    assert [one.others for one in known_host.read(file)] == [0.4] * 6
