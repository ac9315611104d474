"""A model or clips that vanish in the middle of a night: the run ends with a whole summary, which says so."""

from __future__ import annotations

import shutil
import wave

import pytest

from nightgate import paths, steps
from nightgate.errors import InputError
from nightgate.results import files, history
from nightgate.transcription import preparing
from nightgate.transcription.models import look
from nightgate.transcription.models.ggml_layout import Hparams

CPU = ("transcription", "cpu")


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    monkeypatch.setenv("NIGHTGATE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NIGHTGATE_RUNS", str(tmp_path / "runs"))
    (tmp_path / "home").mkdir()


@pytest.fixture
def clips(tmp_path):
    folder = tmp_path / "clips"
    folder.mkdir()
    for number, text in enumerate(("yes", "no", "well")):
        with wave.open(str(folder / f"{number}.wav"), "wb") as file:
            file.setparams((1, 2, 16_000, 0, "NONE", ""))
            file.writeframes(bytes([number, 1]) * 16_000)
        (folder / f"{number}.txt").write_text(text)
    return folder


def planned(**overrides):
    return steps.preflight(
        "a-run", dag_id="nightly_benchmarks", scale="smoke", only=["transcription"], devices=["cpu"],
        overrides={f"transcription.{name}": value for name, value in overrides.items()},
    )  # fmt: skip


def ended(plan, reason):
    """The plan as the tasks of a night get it: its preparation fails, and it is reported all the same."""
    plan = steps.Plan.model_validate_json(plan.model_dump_json())
    with pytest.raises(InputError, match=reason):
        steps.prepare(plan, *CPU)
    summary = steps.report(plan, None)
    assert summary == files.read_summary("a-run")
    assert (paths.run_dir("a-run") / "report.html").exists()
    assert summary.state == "invalid"
    settings = plan.settings_of("transcription")
    assert [record.variant for record in summary.results] == [*settings.variants, *settings.controls]
    for record in summary.results:
        assert (record.status, record.gated) == ("failed", record.variant in settings.variants)
        assert record.reason.startswith("prepare failed: ")
    return summary.results[0].reason


def test_clips_that_vanish(clips, monkeypatch):
    plan = planned(clips=str(clips), exclude=["2"])
    assert plan.looked["transcription"]["clips"] == 2
    monkeypatch.setattr(preparing, "resolve", lambda model, cache: None)  # the model is there
    shutil.rmtree(clips)
    assert str(clips) in ended(plan, "there is no folder")


def test_a_model_that_vanishes(tmp_path, monkeypatch):
    model = tmp_path / "ggml-mine.bin"
    model.write_bytes(b"lmgg" + bytes(60))
    tiny = Hparams(51_864, 1500, 384, 6, 4, 448, 384, 6, 4, 80, 1)
    monkeypatch.setattr(look, "validate_ggml", lambda path: tiny)
    plan = planned(model=str(model))
    assert plan.looked["transcription"]["model"] == {"n_vocab": 51_864, "ftype": 1, "size": 64}
    model.unlink()
    assert f"transcription.model={model} is neither" in ended(plan, "existing ggml file")


def test_a_run_whose_clips_are_gone_says_nothing_of_the_next(clips, monkeypatch):
    """The history of the host is asked; what cannot be rated any more is left out."""
    earlier = planned(clips=str(clips), exclude=["2"])
    shutil.rmtree(clips)
    found = history.Earlier(earlier.settings["transcription"], history.Steps(10_000, 10_000))
    monkeypatch.setattr(history, "earlier", lambda fingerprint: {CPU: [found]})
    assert planned().estimate_seconds["transcription"]["cpu"].measure < 9_000
