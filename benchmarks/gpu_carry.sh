#!/usr/bin/env bash
# Puts into .gpu/ what gpu_check.py needs on a GPU host that reaches no index and has Python 3.12, numpy, scipy and torch:
# wheels, the source of pywhispercpp, tiny.en in two parts, and the packaged clips as FLAC. There:
#
#   python -m pip install --no-index --no-deps --target site .gpu/wheels/*.whl; export PYTHONPATH=$PWD/site
#   GGML_CUDA=1 NO_REPAIR=1 python -m pip install --no-index --no-deps --no-build-isolation --target site .gpu/sources/*
#   cat .gpu/ggml-tiny.en.bin.* > ggml-tiny.en.bin
#   python benchmarks/gpu_check.py --model ggml-tiny.en.bin --clips .gpu/clips --limits h100 --out check.json
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
pip=("$python" -m pip --disable-pip-version-check)
wheels=(annotated-types cffi click greenlet indic-numtowords jiwer more-itertools nvidia-ml-py pycparser pydantic pydantic-core
  pyyaml rapidfuzz regex soundfile soxr tiktoken typing-inspection whisper-normalizer)
platforms=()
for glibc in 2_28 2_27 2_26 2_24 2_17 2_12 2_5; do platforms+=(--platform "manylinux_${glibc}_x86_64"); done

pinned() { sed -n "s/^\($1==[^ ]*\).*/\1/p" include/requirements/ci.txt include/compose/gpu.txt | head -1; }

rm -rf .gpu
mkdir -p .gpu/wheels .gpu/sources
for name in "${wheels[@]}"; do
  wanted=$(pinned "$name")
  "${pip[@]}" download --quiet --no-deps --only-binary=:all: --python-version 3.12 --implementation cp "${platforms[@]}" \
    --platform manylinux2014_x86_64 --platform manylinux1_x86_64 --dest .gpu/wheels "${wanted:-$name}"
done
"${pip[@]}" wheel --quiet --no-deps --wheel-dir .gpu/wheels openai-whisper==20250625 # pure Python, published as source alone
"${pip[@]}" download --quiet --no-deps --no-binary pywhispercpp --dest .gpu/sources "$(pinned pywhispercpp)"
"$python" - <<'END'
from pathlib import Path

import numpy as np
import soundfile

from nightgate import paths
from nightgate.artifacts import Cache
from nightgate.transcription.clips.folder import read_clips
from nightgate.transcription.clips.sets import clip_set
from nightgate.transcription.models.resolve import resolve

cache, target = Cache(paths.cache_dir()), Path(".gpu")
Path(target, "ggml-tiny.en.bin").write_bytes(Path(resolve("tiny.en", cache)["path"]).read_bytes())
(target / "clips").mkdir()
made = clip_set(480, cache).path
for place, clip in enumerate(read_clips(made)):
    name = target / "clips" / f"{place:03d}"
    soundfile.write(name.with_suffix(".flac"), np.load(made / clip["file"]), 16_000)
    name.with_suffix(".txt").write_text(clip["text"])
END
split --bytes=48m --numeric-suffixes .gpu/ggml-tiny.en.bin .gpu/ggml-tiny.en.bin.
rm .gpu/ggml-tiny.en.bin
du -sh .gpu/*
