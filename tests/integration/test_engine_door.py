"""An engine of another package: named by an entry point, it is measured like one of our own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SMALL = ["audio_seconds=5", "batch_seconds=5", "threads=1", "batch_repeats=1"]

PARROT = """
from nightgate.transcription.engines import Engine, Model, Segment, Transcript

class Parrot(Engine):
    name, package, install = "parrot", "nightgate-parrot", "pip install nightgate-parrot"

    def __init__(self, model, threads, device, decoding):
        import numpy
        assert model.ggml.is_file() and threads == 1
        self.ran_on = f"a perch on the {device}"

    def transcribe(self, audio, on_first_segment=None):
        return Transcript((Segment(0.0, len(audio) / 16_000, "Now we are engaged in a great civil war"),))

    @staticmethod
    def library():
        import wave

class Moody(Parrot):
    name = "moody"

    @staticmethod
    def cannot_read(model):
        raise KeyError("of my own")
"""
ENTRY_POINTS = """[nightgate.engines]
parrot = nightgate_parrot:Parrot
moody = nightgate_parrot:Moody
torn = nightgate_parrot:NoSuchThing
stone = pathlib:Path
"""


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A package as pip leaves it, found first by this process's children."""
    site = tmp_path / "site"
    folder = site / "nightgate_parrot-1.5.dist-info"
    folder.mkdir(parents=True)
    (site / "nightgate_parrot.py").write_text(PARROT)
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: nightgate-parrot\nVersion: 1.5\n")
    (folder / "entry_points.txt").write_text(ENTRY_POINTS)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), str(ROOT / "include")]))
    monkeypatch.setenv("NIGHTGATE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NIGHTGATE_RUNS", str(tmp_path / "runs"))


def measure(*overrides):
    command = [sys.executable, "-m", "nightgate.cli", "measure", "transcription", "--device", "cpu", "--json"]
    for override in (*SMALL, *overrides):
        command += ["--set", f"transcription.{override}"]
    return subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)


def test_it_is_measured_and_its_versions_are_told(installed):
    done = measure("variants=[parrot]", "controls=[moody]")
    assert done.returncode == 3, done.stderr  # five seconds of clips state no interval of the error rate
    parrot, moody = json.loads(done.stdout)
    assert (parrot["variant"], parrot["status"], parrot["gated"]) == ("parrot", "measured", True)
    assert parrot["detail"]["ran_on"] == "a perch on the cpu"
    assert parrot["facts"]["provenance"]["versions"] == {"nightgate-parrot": "1.5"}
    assert {"xrt", "wer", "batch_xrt", "first_segment_latency"} <= parrot["metrics"].keys()
    assert parrot["metrics"]["wer"]["value"] > 0.5, "it says the same whatever it is told"
    assert {each["metric"]: each["verdict"] for each in parrot["objectives"]} == {"xrt": "pass", "wer": "inconclusive"}
    assert (moody["status"], moody["gated"]) == ("skipped", False)
    assert moody["reason"] == "moody failed when it was asked what it can do (KeyError: 'of my own')"
    for broken, reason in (("torn", "AttributeError"), ("stone", "pathlib:Path is a type and no Engine")):
        assert f"{broken} of nightgate-parrot is left out: {reason}" in done.stderr


def test_a_typo_is_answered_with_its_name(installed):
    done = measure("variants=[parot]")
    assert done.returncode == 2
    assert "there is no variant 'parot'; did you mean 'parrot'?" in done.stderr


def test_what_is_known_of_the_engines_needs_none_of_their_libraries(installed):
    program = (
        "import sys\n"
        "from nightgate.transcription.plugin import BENCHMARK\n"
        "from nightgate.transcription import engines\n"
        "for name, engine in engines.known().items():\n"
        "    print(name, engine.name, engine.package, bool(engine.install), *engine.devices)\n"
        "heavy = {'numpy', 'faster_whisper', 'ctranslate2', 'pywhispercpp', 'whisper_cpp_python', 'torch', 'whisper', 'wave'}\n"
        "print(*(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    *engines, heavy = done.stdout.splitlines()
    assert sorted(engines) == [
        "faster-whisper faster-whisper faster-whisper True cpu gpu",
        "moody moody nightgate-parrot True cpu",
        "openai-whisper openai-whisper openai-whisper True cpu gpu",
        "parrot parrot nightgate-parrot True cpu",
        "pywhispercpp pywhispercpp pywhispercpp True cpu gpu",
        "whisper-cpp-python whisper-cpp-python whisper-cpp-python True cpu",
    ]
    assert heavy == ""
