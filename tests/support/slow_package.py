"""A package with a strategy of the hybrid that waits a while in its call: as long as its version says, and as a file says that
stands for a host that is slow for all. Another file says by how much the waits of processes differ."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path

_MODULE = """
from math import exp
from pathlib import Path
from random import gauss
from time import perf_counter_ns

from nightgate.hybrid_ann.strategies.hybrid import Hybrid

OWN_NS = {own}
HOST, SCATTER = Path({host!r}), Path({scatter!r})


class Slow(Hybrid):
    name, label = "slow", "the hybrid, and a while"
    requires = (*Hybrid.requires, "nightgate_slow")

    def __init__(self, *given):
        super().__init__(*given)
        wait = OWN_NS + (int(HOST.read_text()) if HOST.exists() else 0)
        self._wait = wait * exp(gauss(0, float(SCATTER.read_text()))) if SCATTER.exists() else wait

    def search(self, query, k):
        found = super().search(query, k)
        if self._wait:
            end = perf_counter_ns() + self._wait
            while perf_counter_ns() < end:
                pass
        return found
"""


@dataclass
class Versions:
    """Wheels in ``folder``, for pip to find, and the one that is installed."""

    folder: Path

    @property
    def host(self) -> Path:
        """The file that says for how many nanoseconds every version waits."""
        return self.folder / "host"

    @property
    def scatter(self) -> Path:
        """The file that says by how much the waits of two processes differ: the standard deviation of their logarithm."""
        return self.folder / "scatter"

    def install(self, version: str, own_ns: int = 0) -> None:
        """Make a version that waits so long, and put it in the place of the one that is installed."""
        wheel = self._wheel(version, own_ns)
        site = self.folder / "site"
        shutil.rmtree(site, ignore_errors=True)
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(site)

    def environment(self) -> dict[str, str]:
        known = os.environ.get("PYTHONPATH", "")
        found = os.environ.get("PIP_FIND_LINKS", "")
        return {
            "PYTHONPATH": os.pathsep.join(filter(None, (str(self.folder / "site"), known))),
            "PIP_FIND_LINKS": " ".join(filter(None, (str(self.folder / "wheels"), found))),
        }

    def _wheel(self, version: str, own_ns: int) -> Path:
        wheels = self.folder / "wheels"
        wheels.mkdir(parents=True, exist_ok=True)
        told = f"nightgate_slow-{version}.dist-info"
        files = {
            "nightgate_slow.py": _MODULE.format(own=own_ns, host=str(self.host), scatter=str(self.scatter)),
            f"{told}/METADATA": f"Metadata-Version: 2.1\nName: nightgate-slow\nVersion: {version}\n",
            f"{told}/WHEEL": "Wheel-Version: 1.0\nGenerator: by hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            f"{told}/entry_points.txt": "[nightgate.strategies]\nslow = nightgate_slow:Slow\n",
        }
        record = [f"{name},sha256={_sha(text)},{len(text.encode())}" for name, text in files.items()]
        files[f"{told}/RECORD"] = "\n".join([*record, f"{told}/RECORD,,"]) + "\n"
        wheel = wheels / f"nightgate_slow-{version}-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            for name, text in files.items():
                archive.writestr(name, text)
        return wheel


def _sha(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
