"""What changed between two nights, and what of it came with the shift."""

from __future__ import annotations

from support.street import measured

from nightgate.causes import changes
from nightgate.environments.lock import Lock
from nightgate.facts import Noise


def lock(**packages):
    code = packages.pop("code", "c1")
    return Lock(
        python="3.11.7",
        packages={"faiss-cpu": "1.0", "numpy": "2.0", **packages},
        code=code,
        version="0.1.0",
        revision=code,
    )


LOCKS = {"e1": lock(), "e2": lock(numpy="2.1"), "e3": lock(numpy="2.1", **{"faiss-cpu": "1.1"}), "e4": lock(code="c2")}


def night(environment, versions=None, noise=None, kernel="Linux 6.1", builds=None):
    record = measured()
    made = record.facts.provenance.model_copy(
        update={
            "environment": environment,
            "versions": versions or {},
            "kernel": kernel,
            "driver": None,
            "python": None,
        }
    )
    record.facts = record.facts.model_copy(update={"provenance": made, "noise": noise, "builds": builds or {}})
    return record


def found(nights, shift):
    return [(one.name, one.before, one.after, one.nights_off) for one in changes(nights, shift, LOCKS.get)]


def test_what_came_with_the_shift_stands_before_what_came_later():
    nights = [night("e1"), night("e2"), night("e2"), night("e3")]
    assert found(nights, 1) == [("numpy", "2.0", "2.1", 0), ("faiss-cpu", "1.0", "1.1", 2)]
    assert found(nights, 3) == [("faiss-cpu", "1.0", "1.1", 0)]


def test_what_is_measured_with_stands_before_what_is_only_installed():
    nights = [night("e1", {"faiss-cpu": "1.0"}), night("e3", {"faiss-cpu": "1.1"})]
    kinds = [(one.name, one.kind) for one in changes(nights, 1, LOCKS.get)]
    assert kinds == [("faiss-cpu", "measured with it"), ("numpy", "installed")]


def test_the_projects_own_code_is_a_change():
    (one,) = changes([night("e1"), night("e4")], 1, LOCKS.get)
    assert str(one) == "nightgate 0.1.0 (c1, code c1) → 0.1.0 (c2, code c2) (the project's code), in the same night"


def test_machine_and_index_are_told_of():
    before, after = night("e1", builds={"ivfpq": "a"}), night("e1", kernel="Linux 6.2", builds={"ivfpq": "b"})
    assert [str(one) for one in changes([before, after], 1, LOCKS.get)] == [
        "the index ivfpq was built anew, in the same night",
        "kernel Linux 6.1 → Linux 6.2 (the machine), in the same night",
    ]


def test_a_busier_or_slower_host_is_told_of_last():
    before = night("e1", noise=Noise(others=0.05, at_full_speed=0.9))
    after = night("e2", noise=Noise(others=0.6, at_full_speed=0.5))
    assert [one.name for one in changes([before, after], 1, LOCKS.get)] == [
        "numpy",
        "other programs",
        "the host at full speed",
    ]
    near = night("e1", noise=Noise(others=0.3, at_full_speed=0.75))
    assert changes([before, near], 1, LOCKS.get) == []


def test_what_went_and_came_back_is_no_change():
    assert found([night("e1"), night("e2"), night("e1")], 1) == []


def test_an_environment_that_nobody_kept_is_told_by_what_the_record_says():
    nights = [night("gone", {"faiss-cpu": "1.0"}), night("lost", {"faiss-cpu": "1.1"})]
    assert [(one.name, one.kind) for one in changes(nights, 1, LOCKS.get)] == [("faiss-cpu", "measured with it")]


def test_of_two_runs_nobody_knows_when_it_came():
    (one,) = changes([night("e1"), night("e2")], None, LOCKS.get)
    assert str(one) == "numpy 2.0 → 2.1 (installed)"


def test_a_change_says_how_far_from_the_shift_it_came():
    nights = [night("e1"), night("e1"), night("e2"), night("e3")]
    assert [str(one) for one in changes(nights, 1, LOCKS.get)] == [
        "numpy 2.0 → 2.1 (installed), 1 night after the shift",
        "faiss-cpu 1.0 → 1.1 (installed), 2 nights after the shift",
    ]
