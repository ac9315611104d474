"""Without CUDA, and without torch: the CPU path runs for real, on the real weights, in its real processes.

Where torch is installed, ``torch.cuda.is_available`` says no, in this process and in every process it starts; where it
is not, a stand-in says so. Without torch means that even an installed one cannot be imported.
"""

import importlib
import importlib.util
import sys
from pathlib import Path

import pytest
from support.extras import needs_openai_whisper
from support.speech import measure, prepare

from nightgate import paths, registry
from nightgate.artifacts.cache import Cache
from nightgate.judge import judge
from nightgate.suite import load_suite
from nightgate.transcription import engines
from nightgate.transcription.settings import Settings
from nightgate.transcription.whisper_batch import batch_size_cpu

ROOT = Path(__file__).resolve().parents[2]

STAND_IN = "class cuda:\n    is_available = staticmethod(lambda: False)\nclass Tensor: ...\n"
ABSENT = "raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')\n"
SHORT = {"audio_seconds": 5, "batch_seconds": 5, "threads": 1, "repeats": 2, "batch_repeats": 1}
PATCH = "import torch\ntorch.cuda.is_available = lambda: False\n"  # Python runs a sitecustomize.py when it starts


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return Cache(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def first_on_the_path(tmp_path, monkeypatch):
    """``first_on_the_path(file, text)``: of this process and of every process it starts."""

    def write(file, text):
        (tmp_path / file).write_text(text)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{ROOT / 'include'}")

    return write


@pytest.fixture
def no_cuda(first_on_the_path, monkeypatch):
    if importlib.util.find_spec("torch"):
        monkeypatch.setattr("torch.cuda.is_available", lambda: False)
        first_on_the_path("sitecustomize.py", PATCH)
    else:
        first_on_the_path("torch.py", STAND_IN)
    assert importlib.import_module("torch").cuda.is_available() is False
    yield
    if not hasattr(sys.modules["torch"], "__version__"):
        del sys.modules["torch"]  # the stand-in


@pytest.fixture
def no_torch(first_on_the_path, monkeypatch):
    first_on_the_path("torch.py", ABSENT)
    for name in [name for name in sys.modules if name.split(".")[0] == "torch"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("torch")


@pytest.fixture(params=["no_cuda", "no_torch"], ids=["torch without CUDA", "no torch"])
def torch(request):
    return request.getfixturevalue(request.param)


def test_torch_without_cuda_runs_on_the_cpu_and_never_counts_as_a_gpu(no_cuda, cache, tmp_path):
    needs_openai_whisper()
    settings = Settings(variants=("openai-whisper",), **SHORT)
    prepared = prepare(settings, cache)
    (record,) = measure(settings, prepared, tmp_path / "s.npz")
    assert (record.status, record.reason, record.detail["ran_on"][:12]) == ("measured", None, "cpu, float32")
    assert "sees no CUDA device" in engines.unavailable("openai-whisper", "gpu").what


def test_the_cpu_path_needs_no_cuda_and_keeps_its_objective(torch, cache, tmp_path):
    gpu_batch = 16
    settings = Settings(variants=("pywhispercpp",), gpu_batch=gpu_batch, **SHORT)
    prepared = prepare(settings, cache)
    limits = load_suite(paths.suite_file(), registry.installed(), "smoke").objectives["transcription"]
    (record,) = measure(settings, prepared, tmp_path / "s.npz")
    assert (record.status, record.device) == ("measured", "cpu")
    assert record.detail["ran_on"].startswith("cpu")
    assert record.detail["batch_size_cpu"] == batch_size_cpu(gpu_batch) == max(1, gpu_batch // 4)
    assert record.detail["batch"]["size"] == max(1, gpu_batch // 4)
    assert record.metrics["xrt"].value <= 2
    assert [verdict.verdict for verdict in judge(record, limits, gated=True) if verdict.metric == "xrt"] == ["pass"]
