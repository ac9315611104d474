"""What changed between two nights, and what of it came with the shift."""

from __future__ import annotations

from support.street import measured

from nightgate.causes import Change, changes
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


def test_what_the_host_was_like_is_told_in_words():
    before = night("e1", noise=Noise(others=0.05, at_full_speed=0.9))
    middle = night("e1", noise=Noise(others=0.1, at_full_speed=0.9))
    after = night("e1", noise=Noise(others=0.6, at_full_speed=0.45))
    told = [
        "other programs 0.1 cores → 0.6 cores (the host's state)", "the host at full speed 90 % of the time → 45 % of the time (the host's state)",
    ]  # fmt: skip
    assert [str(one) for one in changes([before, middle, after], 2, LOCKS.get)] == [
        f"{one}, in the same night" for one in told
    ]
    assert [str(one) for one in changes([middle, after], None, LOCKS.get)] == told
    unknown = night("e1", noise=Noise(others=None, at_full_speed=None))
    assert changes([before, unknown], 1, LOCKS.get) == changes([unknown, after], 1, LOCKS.get) == []


def test_a_setting_that_became_another_is_told_with_both():
    before, after = night("e1"), night("e1")
    before.settings, after.settings = {"rows": 1000, "k": 5}, {"rows": 2000, "k": 5}
    assert [str(one) for one in changes([before, after], 1, LOCKS.get)] == [
        "settings.rows 1000 → 2000 (settings), in the same night"
    ]


def test_code_of_before_it_was_kept_is_told_by_its_revision():
    def of(revision, version="0.1.0"):
        record = night("gone")
        made = record.facts.provenance.model_copy(update={"nightgate": version, "revision": revision})
        record.facts = record.facts.model_copy(update={"provenance": made})
        return record

    assert [str(one) for one in changes([of("r1"), of("r2")], 1, LOCKS.get)] == [
        "nightgate 0.1.0 (r1) → 0.1.0 (r2) (the project's code), in the same night",
    ]
    assert [str(one) for one in changes([of(None), of(None, "0.2.0")], 1, LOCKS.get)] == [
        "nightgate 0.1.0 (no revision) → 0.2.0 (no revision) (the project's code), in the same night",
    ]


def test_a_package_that_came_or_went_is_told_by_its_one_version():
    with_more = dict(LOCKS, e5=lock(scipy="1.0"))
    came, went = (changes([night(a), night(b)], 1, with_more.get) for a, b in (("e1", "e5"), ("e5", "e1")))
    assert [str(one) for one in came] == ["scipy not there → 1.0 (installed), in the same night"]
    assert [str(one) for one in went] == ["scipy 1.0 → not there (installed), in the same night"]


def test_what_came_before_the_shift_says_so():
    nights = [night("e1"), night("e1"), night("e2"), night("e2"), night("e2")]
    assert [one.nights_off for one in changes(nights, 2, LOCKS.get)] == [0]
    assert changes(nights, 4, LOCKS.get) == [], "it was so already in the night before the shift"
    off = [str(Change("a", "installed", "1", "2", nights)) for nights in (-1, -2, 1)]
    assert [one.rpartition(", ")[2] for one in off] == [
        "1 night before the shift",
        "2 nights before the shift",
        "1 night after the shift",
    ]
