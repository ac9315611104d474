"""Of two that did not do the same no difference is called real; and what makes it the same work."""

from __future__ import annotations

import pytest
from support.compared import engine, side_by_side

from nightgate.publish.comparing import compare
from nightgate.record import Record
from nightgate.series import differing


def test_of_two_that_did_not_do_the_same_no_difference_is_called_real(night):
    """A full run and a smoke run were "faster, 71 ×", and the settings that differ came last."""
    after = engine(
        "pywhispercpp", 0.5, settings={"beam_size": 9, "repeats": 9, "variants": ["pywhispercpp"], "later": None}
    )
    after[0].facts.inputs["model"] = "n"
    before = engine("pywhispercpp")
    before[0].facts.inputs["model"] = "m"
    runs = night("a", before), night("b", after, scale="full")
    found, rows = side_by_side(*runs)
    assert found.differences == ["scale: smoke → full", "beam_size: 1 → 9"], (
        "not the repeats, and the weights are what a comparison may be about"
    )
    assert found.judged is False
    assert {row.finding for row in found.rows} == {"cannot be told: not the same work"}
    assert rows["xrt"].difference.value == pytest.approx(0.5), "the numbers are shown all the same"
    anyway = compare((before[0], runs[0]), (after[0], runs[1]), anyway=True)
    assert (anyway.differences, anyway.judged) == (found.differences, True)
    assert anyway.rows[0].finding.startswith("after is faster, 2.0 × (1.")


def worked_on(**inputs):
    return {"facts": {"inputs": inputs}}


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ({"settings": {"rows": 5, "variants": ["a"]}}, {"settings": {"rows": 5, "controls": ["b"]}}, {}),
        ({"settings": {"rows": 5}}, {"settings": {"rows": 6}}, {"rows": (5, 6)}),
        ({"settings": {"rows": 5}}, {"settings": {}}, {"rows": (5, None)}),
        ({"settings": {}}, {"settings": {"new": None}}, {}),
        ({"settings": {}}, {"settings": {"new": 0}}, {"new": (None, 0)}),
        (worked_on(data="x"), worked_on(data="y"), {"data (digest)": ("x", "y")}),
        (worked_on(clips="x", model="m"), worked_on(clips="y", model="m"), {"clips (digest)": ("x", "y")}),
        (worked_on(data="x"), worked_on(clips="y"), {}),
        (worked_on(data="x"), {}, {}),
        (
            worked_on(model="m1"),
            worked_on(model="m2"),
            {"model (digest)": ("m1", "m2")},
        ),  # nothing says that it is a tool
    ],
)
def test_what_makes_the_work_of_two_records_another(first, second, expected):
    one, two = (
        Record(benchmark="b", variant="v", device="cpu", status="measured", **facts) for facts in (first, second)
    )
    assert differing(one, two) == expected
    assert differing(two, one) == {key: pair[::-1] for key, pair in expected.items()}


def test_a_setting_that_came_with_a_later_version_had_its_default_before():
    old, new = (
        Record(benchmark="transcription", variant="v", device="cpu", status="measured", settings=settings)
        for settings in ({"rows": 5}, {"rows": 5, "language": "en", "beam_size": 1, "vad": False, "vad_model": None})
    )
    assert differing(old, new) == differing(new, old) == {}
    new.settings["beam_size"] = 5
    assert differing(old, new) == {"beam_size": (1, 5)}


def test_other_weights_and_another_number_of_repeats_are_no_other_work():
    old, new = (
        Record(benchmark="transcription", variant="v", device="cpu", status="measured", settings=settings, facts=facts)
        for settings, facts in (
            ({"repeats": 5}, {"inputs": {"clips": "c", "model": "m1"}}),
            ({"repeats": 9}, {"inputs": {"clips": "c", "model": "m2"}}),
        )
    )
    assert differing(old, new) == {}
    new.facts.inputs["clips"] = "d"
    assert differing(old, new) == {"clips (digest)": ("c", "d")}
