"""What the engines say of the device they ran on, from the lines whisper.cpp prints while it loads."""

from pathlib import Path

import pytest

from nightgate.errors import ChildError, NotMeasured
from nightgate.measure.child import ChildResult
from nightgate.transcription import engines
from nightgate.transcription.engines import openai_whisper
from nightgate.transcription.engines.faster_whisper import FasterWhisper
from nightgate.transcription.engines.openai_whisper import OpenAIWhisper, TorchFacts
from nightgate.transcription.engines.pywhispercpp import proven_gpu
from nightgate.transcription.settings import Settings

ON_GPU = """\
whisper_init_with_params_no_state: use gpu    = 1
ggml_cuda_init: found 1 CUDA devices:
  Device 0: NVIDIA H200, compute capability 9.0, VMM: yes
whisper_model_load:        CUDA0 total size =    77.11 MB
whisper_backend_init_gpu: using CUDA0 backend
"""


def test_weights_and_backend_on_a_gpu_are_the_proof():
    assert proven_gpu(ON_GPU) == "CUDA0, 77.11 MB of weights"


@pytest.mark.parametrize(
    "said",
    [
        "",
        "whisper_backend_init_gpu: no GPU found\nwhisper_model_load:          CPU total size =    77.11 MB\n",
        ON_GPU.replace("using CUDA0 backend", "no GPU found"),
        ON_GPU.replace("CUDA0 total size", "CPU total size"),  # asked for a GPU, weights elsewhere
        ON_GPU.replace("CUDA0", "Vulkan0"),
    ],
)
def test_anything_less_is_no_measurement_on_a_gpu(said):
    with pytest.raises(NotMeasured, match="ran on the CPU"):
        proven_gpu(said)


def test_an_engine_without_a_gpu_path_refuses_one():
    assert not engines.made_for("whisper-cpp-python", "gpu")
    with pytest.raises(NotMeasured, match="does not run on a gpu"):
        engines.load(engines.named("whisper-cpp-python"), engines.Model(None, None, 51_864), 1, "gpu")


def test_only_torch_takes_a_batch_in_one_call():
    assert [name for name in Settings.known_variants if engines.has_batches(name)] == ["openai-whisper"]
    assert [name for name in Settings.known_variants if engines.in_one_call(name, engines.Decoding())] == [
        "openai-whisper"
    ]


def test_what_torch_cannot_read_is_known_without_it():
    reason = engines.cannot_read("openai-whisper", engines.Model(Path("/m/q.bin"), None, 51_865, 2008))
    assert "the weights of q.bin are quantised" in reason.what and "float16" in reason.next_step
    assert engines.cannot_read("openai-whisper", engines.Model(Path("/m/v3.bin"), None, 51_866, 1)) is None


@pytest.mark.parametrize(
    ("facts", "says"), [(TorchFacts("2.13.0+cpu", False), "torch 2.13.0+cpu sees no CUDA device"), (TorchFacts("2", True), None)]
)  # fmt: skip
def test_whether_torch_sees_a_gpu_is_asked_in_a_process_of_its_own(monkeypatch, facts, says):
    def run(function, request, *, threads, device):
        assert (function, threads, device) == (openai_whisper.torch_facts, 1, "gpu")
        return ChildResult(facts, 1, 1.0)

    monkeypatch.setattr(openai_whisper, "run_child", run)
    reason = OpenAIWhisper.cannot_run_on("gpu")
    assert (reason and reason.what) == says
    assert OpenAIWhisper.cannot_run_on("cpu") is None

    def dies(*_, **__):
        raise ChildError("was ended by SIGILL")

    monkeypatch.setattr(openai_whisper, "run_child", dies)
    reason = OpenAIWhisper.cannot_run_on("gpu")
    assert "torch does not start (was ended by SIGILL)" in reason.what and "make setup-torch" in reason.next_step


def test_what_is_missing_is_named_with_its_install_line(monkeypatch):
    monkeypatch.setattr(FasterWhisper, "package", "faster-whisper-that-is-not-there")
    missing = engines.unavailable("faster-whisper", "cpu")
    assert "pip install faster-whisper" in str(missing)
    monkeypatch.undo()
    assert engines.unavailable("faster-whisper", "cpu") is None
