"""What a run counts for, also of one that was written before it was kept."""

from __future__ import annotations

import pytest

from nightgate.record import BY_HAND, Gpu, Host, Summary, counting, standing


def summary(run_id="a", **facts):
    host = Host(fingerprint="f", cpu="c", cores=2, memory_bytes=1)
    given = {
        "dag_id": "nightly_benchmarks",
        "scale": "full",
        "state": "pass",
        "started_at": "t",
        "finished_at": "t",
        "host": host,
    }
    return Summary(**{**given, "run_id": run_id, "results": [], **facts})


@pytest.mark.parametrize(
    ("dag_id", "scheduled", "overrides", "expected"),
    [
        ("nightly_benchmarks", True, {}, "night"), ("nightly_benchmarks", False, {}, "stand-in"), ("nightly_benchmarks", True, {"a": 1}, "ad-hoc"),
        ("nightly_benchmarks", False, {"a": None}, "ad-hoc"), (BY_HAND, True, {}, "ad-hoc"), (BY_HAND, False, {}, "ad-hoc"),
    ],
)  # fmt: skip
def test_what_a_run_counts_for(dag_id, scheduled, overrides, expected):
    assert standing(dag_id, scheduled, overrides) == expected
    assert summary(dag_id=dag_id, scheduled=scheduled, overrides=overrides).standing == expected


@pytest.mark.parametrize(
    ("run_id", "expected"),
    [
        ("scheduled__2026-11-20T02:00:00+00:00", "night"),
        ("manual__2026-11-20T02:00:00+00:00", "ad-hoc"),
        ("full-20261122T142323.874Z", "ad-hoc"),
    ],
)
def test_an_old_summary_counts_where_its_name_says_that_it_was_scheduled(run_id, expected):
    assert summary(run_id).standing == expected
    assert summary(run_id, scheduled=False).standing == expected
    assert summary(run_id, overrides={}).standing == expected
    read = Summary.model_validate_json(summary(run_id).model_dump_json(exclude={"scheduled", "overrides"}))
    assert (read.scheduled, read.overrides, read.standing) == (None, None, expected)


def test_the_nights_count_and_without_one_what_stands_in():
    night, hand = summary("n", scheduled=True, overrides={}), summary("h", scheduled=False, overrides={})
    adhoc = summary("x", scheduled=False, overrides={"a": 1})
    assert counting(iter([adhoc, hand, night])) == [night]
    assert counting([adhoc, hand]) == [hand]
    assert counting([adhoc]) == []


def test_a_host_that_was_kept_before_its_gpu_was_described_still_reads():
    kept = {"fingerprint": "f", "cpu": "c", "cores": 2, "memory_bytes": 1, "gpu": "NVIDIA L4"}
    found = Host.model_validate(kept)
    assert (found.gpu, found.gpu_facts, found.gpu_fault) == ("NVIDIA L4", None, None)
    described = found.model_copy(update={"gpu_facts": Gpu(name="NVIDIA L4", memory_bytes=1, source="nvml")})
    assert Host.model_validate_json(described.model_dump_json()) == described


def test_suites_count_each_for_itself():
    night, hand = summary("n", scheduled=True, overrides={}), summary("h", scheduled=False, overrides={})
    own = [summary(name, scheduled=False, overrides=over, suite="own") for name, over in (("a", {}), ("b", {"a": 1}))]
    assert counting([night, hand, *own]) == [night, own[0]]


def test_what_was_kept_before_suites_had_names_is_of_the_shipped_one():
    old = summary("n", scheduled=True, overrides={}).model_dump_json(exclude={"suite"})
    assert Summary.model_validate_json(old).suite == "nightly"
