"""What the engines say of the device they ran on, from the lines whisper.cpp prints while it loads."""

import pytest

from nightgate.errors import NotMeasured
from nightgate.transcription import engines
from nightgate.transcription.engines.pywhispercpp import proven_gpu

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
        engines.load("whisper-cpp-python", engines.Model(None, None, 51_864), 1, "gpu")


def test_what_is_missing_is_named_with_its_install_line(monkeypatch):
    monkeypatch.setattr(engines.FasterWhisper, "package", "faster-whisper-that-is-not-there")
    missing = engines.unavailable("faster-whisper", "cpu")
    assert "pip install faster-whisper" in str(missing)
    monkeypatch.undo()
    assert engines.unavailable("faster-whisper", "cpu") is None
