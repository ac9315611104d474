"""Which engines are measured and gated, and why one is not, without an engine: the child process is replaced."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from support.scripted_engines import BOTH, GOOD, NEW, OLD, PEER, TORCH, installed, model_is
from support.speech import measure, prepare

from nightgate.artifacts.cache import Cache
from nightgate.errors import InputError, NotMeasured, Unavailable
from nightgate.judge import judge
from nightgate.measure import devices
from nightgate.record import Gpu
from nightgate.suite import Limit
from nightgate.transcription import preparing
from nightgate.transcription.clips.folder import ClipFacts, SavedClip, save_set
from nightgate.transcription.engines.openai_whisper import OpenAIWhisper
from nightgate.transcription.engines.pywhispercpp import PyWhisperCpp
from nightgate.transcription.engines.whisper_cpp_python import WhisperCppPython
from nightgate.transcription.prepared import PreparedClips
from nightgate.transcription.settings import Settings


def test_an_engine_that_is_not_installed_is_skipped_with_the_install_line(prepared, tmp_path, child, monkeypatch):
    requests = child({OLD: GOOD, NEW: GOOD})
    monkeypatch.setattr(PyWhisperCpp, "package", "pywhispercpp-that-is-not-there")
    first, second = measure(BOTH, prepared, tmp_path / "s.npz")
    assert first.status == "measured"
    assert second.status == "skipped"
    assert "not installed" in second.reason and "pip install pywhispercpp" in second.reason
    assert all(asked.variant == OLD for asked in requests)


@pytest.mark.parametrize("absent", ["package", "requires"])
def test_torch_that_is_not_installed_is_skipped_with_the_install_line(prepared, tmp_path, child, monkeypatch, absent):
    child({OLD: GOOD})
    value = {"package": "whisper-that-is-not-there", "requires": ("torch-that-is-not-there",)}[absent]
    monkeypatch.setattr(OpenAIWhisper, "requires", ())
    monkeypatch.setattr(OpenAIWhisper, "package", "pywhispercpp")  # one that is there
    monkeypatch.setattr(OpenAIWhisper, absent, value)
    settings = BOTH.model_copy(update={"controls": (TORCH,)})
    first, second = measure(settings, prepared, tmp_path / "s.npz")
    assert (first.status, second.status) == ("measured", "skipped")
    assert "that-is-not-there is not installed" in second.reason and "make setup-torch" in second.reason
    assert not second.gated and judge(second, {"xrt": {"cpu": Limit(op="<=", limit=2)}}, gated=False) == []


def test_on_a_gpu_more_is_gated_and_the_record_says_so(prepared, tmp_path, child, monkeypatch):
    child({NEW: GOOD, TORCH: GOOD, PEER: GOOD})
    installed(monkeypatch, NEW, TORCH, PEER)
    settings = BOTH.model_copy(update={"variants": (OLD, NEW), "gpu_variants": (TORCH,), "controls": (PEER, TORCH)})
    records = measure(settings, prepared, tmp_path / "s.npz", "gpu")
    assert [(record.variant, record.gated) for record in records] == [(NEW, True), (TORCH, True), (PEER, False)]
    records = measure(settings, prepared, tmp_path / "s.npz")
    assert [(r.variant, r.gated) for r in records if r.status == "measured"] == [
        (NEW, True), (PEER, False), (TORCH, False),
    ]  # fmt: skip


def test_on_a_gpu_one_gated_engine_is_enough_to_measure(monkeypatch, tmp_path):
    monkeypatch.setattr(devices, "gpu", lambda: Gpu(name="NVIDIA H100", memory_bytes=1, source="nvml"))
    monkeypatch.setattr(preparing, "resolve", lambda *_: 1 / 0)
    settings = BOTH.model_copy(update={"variants": (NEW,), "gpu_variants": (TORCH,)})
    installed(monkeypatch)
    with pytest.raises(Unavailable, match="no pywhispercpp; no openai-whisper"):
        prepare(settings, Cache(tmp_path), "gpu")
    installed(monkeypatch, TORCH)
    with pytest.raises(ZeroDivisionError):
        prepare(settings, Cache(tmp_path), "gpu")
    with pytest.raises(NotMeasured, match="no pywhispercpp"):
        prepare(settings, Cache(tmp_path))


def test_no_engine_at_all_is_no_measurement(monkeypatch, tmp_path):
    monkeypatch.setattr(WhisperCppPython, "package", "not-there")
    with pytest.raises(NotMeasured, match=r"pip install whisper-cpp-python==0\.2\.0"):
        prepare(BOTH, Cache(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_the_peer_needs_a_model_it_can_read(prepared, tmp_path, child):
    child({OLD: GOOD})
    settings = BOTH.model_copy(update={"controls": (PEER,)})
    _, peer = measure(settings, prepared, tmp_path / "s.npz")
    assert peer.status == "skipped"
    assert "CTranslate2" in peer.reason


def test_an_engine_of_2023_is_kept_from_a_model_with_other_tokens(prepared, tmp_path, child):
    child({NEW: GOOD})
    old, new = measure(BOTH, model_is(prepared, n_vocab=51_866), tmp_path / "s.npz")
    assert old.status == "skipped"
    assert "51866 tokens" in old.reason
    assert new.status == "measured"


@pytest.mark.parametrize("ftype", [7, 9, 2008])
def test_an_engine_of_2023_is_kept_from_quantised_weights(prepared, tmp_path, child, ftype):
    requests = child({NEW: GOOD})
    old, new = measure(BOTH, model_is(prepared, ftype=ftype), tmp_path / "s.npz")
    assert (old.status, new.status) == ("skipped", "measured")
    assert "quantised weights of m.bin" in old.reason and "leave whisper-cpp-python out" in old.reason
    assert {asked.variant for asked in requests} == {NEW}
    # what is missing never passes: it was gated, and the host did measure another
    limit = {"xrt": {"cpu": Limit(op="<=", limit=2)}}
    (verdict,) = judge(old, limit, gated=old.gated, expected=True)
    assert verdict.verdict == "invalid"
    assert "quantised" in verdict.reason


def test_a_control_that_cannot_decode_so_is_skipped_with_the_reason(prepared, tmp_path, child):
    child({PEER: GOOD})
    prepared = model_is(prepared, ctranslate2=Path("/folder"))
    settings = Settings(variants=(PEER,), controls=(OLD, NEW), vad=True, threads=2, gpu_batch=8, batch_seconds=20)
    peer, old, new = measure(settings, prepared, tmp_path / "s.npz")
    assert peer.status == "measured"
    assert (old.status, new.status) == ("skipped", "skipped")
    assert "no voice activity detection" in old.reason
    assert "transcription.vad_model" in new.reason


def test_clips_in_another_language_are_refused_before_anything_is_timed(prepared, monkeypatch, tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    clips = [
        SavedClip(id=name, file=f"{name}.npy", seconds=1.5, sha256="0", text="x", language=language)
        for name, language in (("a", "en"), ("b", "de-DE"))
    ]
    facts = save_set(folder, clips)
    found = SimpleNamespace(path=folder, facts=facts.model_dump(mode="json", exclude_none=True))
    monkeypatch.setattr(preparing, "resolve", lambda model, cache: prepared.model)
    monkeypatch.setattr(preparing, "clip_set", lambda seconds, cache: found)
    with pytest.raises(InputError, match="the clip b is in de"):
        prepare(BOTH, Cache(tmp_path / "cache"))
    save_set(folder, clips[:1])
    ready = prepare(BOTH, Cache(tmp_path / "cache"))
    assert ready.clips == PreparedClips(folder=folder, facts=ClipFacts.model_validate(found.facts))
    assert ready.model == prepared.model


def test_what_is_not_made_for_a_gpu_leaves_no_record_there(prepared, tmp_path, child, monkeypatch):
    child({NEW: GOOD})
    monkeypatch.setattr(PyWhisperCpp, "cannot_run_on", staticmethod(lambda device: None))
    (record,) = measure(BOTH, prepared, tmp_path / "s.npz", "gpu")
    assert (record.variant, record.device, record.status) == (NEW, "gpu", "measured")


@pytest.mark.parametrize(
    ("name", "says"), [(None, "no NVIDIA device"), ("NVIDIA H200", "whisper-cpp-python does not run on a gpu")]
)
def test_without_a_gpu_or_an_engine_for_it_it_is_unavailable_with_the_reason(tmp_path, monkeypatch, name, says):
    found = Gpu(name=name, memory_bytes=1, source="nvml") if name else None
    monkeypatch.setattr(devices, "gpu", lambda: found)
    with pytest.raises(Unavailable, match=says):
        prepare(BOTH, Cache(tmp_path), "gpu")
    assert list(tmp_path.iterdir()) == []
