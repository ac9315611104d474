"""Without CUDA, and without torch: the CPU path runs for real, on the real weights, in its real processes.

A stand-in for torch comes first on the path of this process and of every process it starts, so that a torch that is
installed here is not seen either.
"""

import importlib
import json
import sys

import pytest

from nightgate import paths, registry
from nightgate.artifacts.cache import Cache
from nightgate.judge import judge
from nightgate.suite import load_suite
from nightgate.transcription import benchmark
from nightgate.transcription.settings import Settings
from nightgate.transcription.whisper_batch import batch_size_cpu

NO_CUDA = "class cuda:\n    is_available = staticmethod(lambda: False)\nclass Tensor: ...\n"
ABSENT = "raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')\n"


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return Cache(tmp_path_factory.mktemp("cache"))


@pytest.fixture(params=[NO_CUDA, ABSENT], ids=["torch without CUDA", "no torch"])
def torch(request, tmp_path, monkeypatch):
    (tmp_path / "torch.py").write_text(request.param)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{paths.project_root() / 'include'}")
    for name in [name for name in sys.modules if name.split(".")[0] == "torch"]:
        monkeypatch.delitem(sys.modules, name)
    if request.param == NO_CUDA:
        assert importlib.import_module("torch").cuda.is_available() is False
    else:
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module("torch")
    yield
    sys.modules.pop("torch", None)


def test_the_cpu_path_needs_no_cuda_and_keeps_its_objective(torch, cache, tmp_path):
    gpu_batch = 16
    settings = Settings(variants=("pywhispercpp",), audio_seconds=5, batch_seconds=5, threads=1, gpu_batch=gpu_batch)
    settings = settings.model_copy(update={"repeats": 3})  # fewer than a suite may ask for
    prepared = json.loads(json.dumps(benchmark.prepare(settings, "cpu", cache)))
    limits = load_suite(paths.suite_file(), registry.installed(), "smoke").objectives["transcription"]
    (record,) = benchmark.measure(settings, "cpu", prepared, tmp_path / "s.npz")
    assert (record.status, record.device) == ("measured", "cpu")
    assert record.detail["ran_on"].startswith("cpu")
    assert record.detail["batch_size_cpu"] == batch_size_cpu(gpu_batch) == max(1, gpu_batch // 4)
    assert record.detail["batch"]["size"] == max(1, gpu_batch // 4)
    assert record.metrics["xrt"].value <= 2
    assert [verdict.verdict for verdict in judge(record, limits, gated=True) if verdict.metric == "xrt"] == ["pass"]
