"""Does everything that Nightgate runs on a GPU run on this one, does it find what the CPU finds, and how fast: `make gpu-check`.

    PYTHONPATH=include python benchmarks/gpu_check.py [--only torch|faiss|whispercpp] [--limits h100] [--out FILE.json]

Needs no Airflow and no set-up but Python 3.11 or later, numpy, scipy, pydantic, PyYAML, and what is to be checked; a part whose
library is missing says so, and the others are measured. Each part runs in processes of its own with a limit, within the
budget of --seconds, and the file is whole after each. Ends with 0 when all held, 1 when a limit was missed or results
differ, 3 when something could not be measured.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import logging
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

_HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(_HERE), str(_HERE.parent / "include")]

try:
    from gpu import hybrid, neighbours, peaks, rerank, runner, speech, table, vectors
    from gpu.asked import FULL, LIMITS, SMALL, Asked
    from gpu.outcome import Check, Outcome
    from nightgate.errors import EXIT_INPUT, DriverError, InputError, NightgateError
    from nightgate.measure import devices, host
    from nightgate.record import Device, Gpu, utc_now
except ModuleNotFoundError as missing:
    print(
        f"gpu_check.py needs the package {missing.name}. Next step: pip install numpy scipy pydantic pyyaml",
        file=sys.stderr,
    )
    sys.exit(2)

PARTS = (peaks.PART, speech.CLIPS, *speech.PARTS, vectors.PART, neighbours.PART, rerank.PART, hybrid.PART)
"""The cheapest proof first."""

_GROUPS = ("torch", "faiss", "whispercpp")
_PACKAGES = (
    "torch", "cupy", "cupy-cuda12x", "cupy-cuda13x", "faiss-gpu", "faiss-cpu", "pywhispercpp", "openai-whisper", "numpy",
    "nvidia-ml-py",
)  # fmt: skip
_SECONDS = 240.0
_NO_DEVICE = "this host has no NVIDIA device, so every part ran on the CPU alone, at a small size"


def main(words: list[str] | None = None) -> int:
    """Returns the exit code."""
    given = _arguments(words)
    logging.basicConfig(level=logging.INFO if given.verbose else logging.WARNING, format="%(message)s")
    try:
        device, gpu, fault = _device(given.device)
    except InputError as error:
        print(error, file=sys.stderr)
        return EXIT_INPUT
    check = Check(
        started_at=utc_now(), host=host.describe(), device=gpu, fault=fault, limits=given.limits, versions=_versions()
    )
    print(table.header(check), flush=True)

    def tell(outcome: Outcome) -> None:
        check.outcomes.append(outcome)
        _kept(check, given.out)
        print(table.part(outcome), flush=True)

    with tempfile.TemporaryDirectory(prefix="nightgate-gpu-") as folder:
        asked = _asked(given, device, Path(folder))
        limits = LIMITS[given.limits] if given.limits else None
        runner.run(runner.chosen(PARTS, given.only), asked, limits, seconds=given.seconds, tell=tell)
    check.complete = True
    _kept(check, given.out)
    print(table.summary(check))
    return check.exit_code


def _arguments(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only", action="append", default=[], choices=_GROUPS, help="what uses this library; can be repeated"
    )
    parser.add_argument("--seconds", type=float, default=_SECONDS, help="for everything; what does not fit is left out")
    parser.add_argument("--out", type=Path, help="a JSON file, whole after each part")
    parser.add_argument(
        "--limits", choices=LIMITS, help="hold the results to the limits of this card; else they are reported"
    )
    parser.add_argument(
        "--device", choices=("auto", "gpu", "cpu"), default="auto", help="cpu: the same work, small, without a GPU"
    )
    parser.add_argument("--rows", type=int, help="vectors in the base")
    parser.add_argument("--model", default="tiny.en", help="a published name or the path of a ggml file")
    parser.add_argument("--clips", type=Path, help="a folder or manifest of your own clips with their texts")
    parser.add_argument("--verbose", action="store_true", help="what the parts say while they run")
    return parser.parse_args(words)


def _device(wanted: str) -> tuple[Device, Gpu | None, str | None]:
    """Where to measure, the card, and why there is none where one was wanted.

    Raises:
        InputError: a GPU was asked for by name, and there is none.
    """
    if wanted == "cpu":
        return "cpu", None, None
    try:
        found = devices.gpu()
    except DriverError as error:
        return "cpu", None, str(error)
    if found is None and wanted == "gpu":
        raise InputError("there is no NVIDIA device on this host", "leave --device out, or run it where there is one")
    return ("gpu", found, None) if found else ("cpu", None, _NO_DEVICE)


def _asked(given: argparse.Namespace, device: Device, folder: Path) -> Asked:
    sizes = FULL if device == "gpu" else SMALL
    sizes = replace(sizes, rows=given.rows) if given.rows else sizes
    return Asked(
        device, len(os.sched_getaffinity(0)), folder, sizes, given.model, given.clips and given.clips.absolute()
    )


def _versions() -> dict[str, str]:
    found = {"python": sys.version.split()[0]}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _kept(check: Check, file: Path | None) -> None:
    if file:
        check.write(file)


if __name__ == "__main__":
    # the children import the parts and Nightgate from here
    os.environ["PYTHONPATH"] = os.pathsep.join(
        [str(_HERE), str(_HERE.parent / "include"), *filter(None, [os.environ.get("PYTHONPATH")])]
    )
    try:
        sys.exit(main())
    except NightgateError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
