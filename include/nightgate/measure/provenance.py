"""With what something is measured: this project, the interpreter, the kernel and the processor's instructions."""

from __future__ import annotations

import platform
import subprocess
from functools import cache
from pathlib import Path

from nightgate import __version__
from nightgate.facts import Provenance

_FLAGS = ("avx", "avx2", "avx512", "fma", "f16c", "amx", "sse4", "asimd", "sve", "neon")


def describe(versions: dict[str, str], environment: str | None = None) -> Provenance:
    """The provenance of a record that used these libraries and servers, name → version.

    Args:
        environment: the digest of all that is installed.
    """
    return _here().model_copy(update={"versions": versions, "environment": environment})


@cache
def _here() -> Provenance:
    return Provenance(
        nightgate=__version__,
        revision=revision(),
        python=f"{platform.python_implementation()} {platform.python_version()}",
        kernel=f"{platform.system()} {platform.release()}",
        cpu_flags=_cpu_flags(),
        microcode=_of_cpu("microcode"),
    )


@cache
def revision() -> str | None:
    """The commit this code is of, with "-dirty" where it was changed since; None outside a Git work tree."""
    here = Path(__file__).parent
    command = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        inside = subprocess.run(
            ["git", "-C", str(here), "ls-files", "--error-unmatch", __file__],
            capture_output=True,
            timeout=10,
            check=False,
        )
        if inside.returncode:  # installed into somebody else's work tree, whose commit says nothing of this code
            return None
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None


def _cpu_flags() -> list[str]:
    """Those vector instructions that numerical libraries choose their code by."""
    found = _of_cpu("flags") or _of_cpu("Features") or ""
    return sorted(flag for flag in found.split() if flag.startswith(_FLAGS))


def _of_cpu(name: str) -> str | None:
    """What the kernel says of the first processor under ``name``."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return None
