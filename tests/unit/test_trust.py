"""Whether speeds count: decided from what was seen of the host, and from nothing else."""

from __future__ import annotations

import pytest

from nightgate.facts import HostSample, Noise
from nightgate.measure import trust
from nightgate.measure.known_host import Known


def sample(at=0.0, seconds=1.0, **changed):
    usual = {"cpu": 0.004, "memory": 6e9, "cache": 2e-9, "late": 6e-5, "longest_gap": 1e-4, "lost": 0.0}
    return HostSample(at=at, seconds=seconds, **usual | changed)


def noise(*samples, **changed):
    return Noise(samples=list(samples or [sample()]), cores=2, **changed)


def known(count, **changed):
    usual = {"at": "then", "cpu": 0.004, "fastest": 0.004, "memory": 6e9, "cache": 2e-9}
    return [Known(**usual | changed) for _ in range(count)]


def test_a_quiet_host_is_not_disturbed():
    assert (
        trust.disturbed(noise(others=0.34, loaded_share=0.04, stolen=0.04, throttled=0.04, hot=0.04), known(20)) is None
    )


def test_what_cannot_be_read_disturbs_nothing():
    assert trust.disturbed(noise(), []) is None
    assert trust.disturbed(Noise(), known(20)) is None, "of a record that was written before"


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"others": 0.36}, "other programs kept 0.4 of 2 cores busy on average"),
        ({"others": 0.43, "program": "gcc"}, "another program (gcc) kept 0.4 of 2 cores busy on average"),
        ({"stolen": 0.05}, "the hypervisor gave 5% of the running time to other machines"),
        ({"throttled": 0.07}, "the limit of the cgroup held our processes back for 7% of the time"),
        ({"hot": 0.31}, "the processor was slowed down for its heat for 31% of the time"),
        (
            {"hot": 0.5, "stolen": 0.06},
            "the hypervisor gave 6% of the running time to other machines; the processor was slowed down for its heat for 50% of the time",
        ),
    ],
)  # fmt: skip
def test_each_disturbance_is_named_with_its_number(changed, sentence):
    assert trust.disturbed(noise(**changed), []) == sentence


def test_on_a_large_host_more_may_be_busy():
    seen = noise(others=2.9)
    seen.cores = 64
    assert trust.disturbed(seen, []) is None
    assert (
        trust.loaded_from(64) == 6.4
        and trust.loaded_from(16) == 1.6
        and trust.loaded_from(4) == trust.loaded_from(1) == 0.5
    )
    assert "3.3 of 64 cores" in (trust.disturbed(seen.model_copy(update={"others": 3.3}), []) or "")


@pytest.mark.parametrize(
    ("share", "when"), [(0.05, "for 5% of the time"), (0.5, "for 50% of the time"), (0.6, "for most of it"), (1.0, "all the time")]
)  # fmt: skip
def test_load_that_comes_and_goes_is_told_as_it_was_while_it_was_there(share, when):
    samples = [
        sample(others=2.0),
        sample(others_since=0.125),
        sample(others_since=0.5),
        sample(others=0.1, others_since=1.1),
    ]
    assert trust.disturbed(noise(*samples, others=0.1, loaded_share=share, program="cc1"), []) == (
        f"another program (cc1) kept 0.8 of 2 cores busy {when}"
    )


def test_where_a_server_works_for_us_samples_must_tell_more():
    def seen(others, share):
        samples = [sample(others=0.1, others_since=None), sample(others=0.9), sample(others=0.7)]
        return trust.disturbed(noise(*samples, others_at_rest=others, loaded_at_rest=share), [])

    assert seen(0.49, 0.19) is None
    assert seen(0.49, 0.2) == "other programs kept 0.8 of 2 cores busy for 20% of the samples"
    assert seen(0.5, 0.19) == "other programs kept 0.5 of 2 cores busy on average"


def test_a_lost_core_is_told_where_nothing_else_explains_it():
    seen = [sample(seconds=1.0, lost=0.02), sample(seconds=0.2, lost=0.52)]
    assert trust.disturbed(noise(*seen), []) == "something else ran on the canary's core for 10% of its time"
    assert "canary" not in (trust.disturbed(noise(*seen, others=0.9), []) or "")
    assert trust.disturbed(noise(sample(lost=0.02), sample(lost=0.17)), []) is None


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"cpu": 0.0101}, "computing took 2.5 × as long as in the last 15 quiet measurements"),
        ({"memory": 2e9}, "copying memory took 3.0 × as long as in the last 15 quiet measurements"),
        ({"cache": 5.2e-9}, "reading from the cache took 2.6 × as long as in the last 15 quiet measurements"),
    ],
)
def test_a_part_that_was_never_so_slow_disturbs(changed, sentence):
    assert trust.disturbed(noise(sample(**changed)), known(20)) == sentence
    assert trust.disturbed(noise(sample(**changed)), known(4)) is None, "too little is known"


@pytest.mark.parametrize(
    ("seen", "kept"),
    [
        ({"others": 0.49}, {"others": 0.3}),
        ({"others_at_rest": 0.69}, {"others": 0.3}),
        ({"stolen": 0.12}, {"stolen": 0.08}),
        ({"samples": [sample(lost=0.17)]}, {"lost": 0.08}),
    ],
)
def test_what_is_usual_on_a_host_is_no_disturbance(seen, kept):
    found = noise().model_copy(update=seen)
    assert trust.disturbed(found, known(5, **kept)) is None
    assert trust.disturbed(found, known(4, **kept)) is not None, "too little is known"
    assert trust.disturbed(found, known(8, **kept) + known(8)) is not None, "by the newest fifteen it is not"


def test_what_comes_on_top_is_told_with_what_is_usual():
    sentence = "another program (gcc) kept 0.7 of 2 cores busy on average (0.3 as a rule)"
    assert trust.disturbed(noise(others=0.66, program="gcc"), known(5, others=0.3)) == sentence
    assert trust.disturbed(noise(others=0.55, loaded_share=0.05), known(5, others=0.6)), "who is at work is never usual"


@pytest.mark.parametrize(
    ("changed", "usual"),
    [
        ({}, True), ({"others": 0.45, "loaded_share": 0.04}, True), ({"stolen": 0.14}, True), ({"loaded_share": 0.05}, False),
        ({"loaded_at_rest": 0.2}, False), ({"stolen": 0.15}, False), ({"throttled": 0.05}, False), ({"hot": 0.05}, False),
    ],
)  # fmt: skip
def test_what_tells_how_a_host_is_by_itself(changed, usual):
    assert trust.is_usual(noise(**changed)) is usual


def test_the_two_speeds_of_a_virtual_host_are_no_disturbance():
    assert trust.disturbed(noise(sample(cpu=0.004 * 1.9, memory=6e9 / 1.9, cache=2e-9 * 1.9)), known(20)) is None


def test_the_newest_say_how_fast_the_host_is():
    seen = noise(sample(cpu=0.012))
    assert trust.disturbed(seen, known(50, cpu=0.012) + known(15, cpu=0.004))
    assert trust.disturbed(seen, known(50, cpu=0.004) + known(15, cpu=0.012)) is None, "it has become slower"


def test_one_slow_moment_is_not_the_whole():
    assert trust.disturbed(noise(sample(), sample(), sample(cpu=0.1)), known(20)) is None


def test_states_are_told_from_the_fastest_rounds():
    rounds = [[4.0, 4.2, 4.9], [6.8, 7.6], [4.1, 5.2, 4.0, 4.0, 4.0]]
    shares, share, slowdown = trust.states(rounds, [])
    # the tenth percentile is 4.0 and what is near ends at 5.0
    assert shares == [1.0, 0.0, 0.8]
    assert share == 0.7
    assert slowdown == pytest.approx(1.7)
    assert trust.states([[4.0, 4.5]], []) == ([1.0], 1.0, None)


def test_a_host_that_was_slow_all_night_has_no_fast_rounds_where_it_is_known():
    assert trust.states([[7.0, 7.0, 8.0]], known(1, fastest=4.0)) == ([0.0], 0.0, 1.75)
    assert trust.states([[7.0, 7.0, 8.0]], known(1, fastest=9.0)) == ([1.0], 1.0, None)


def test_where_the_fastest_tenth_ends():
    assert trust.fastest_of([9.0]) == 9.0
    assert trust.fastest_of([float(number) for number in range(30, 0, -1)]) == 3.0
