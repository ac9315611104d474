"""A package with a strategy of the hybrid that waits a while in its call: as long as its version says, and as a file says that
stands for a host that is slow for all. Another file says how long the calls of each index last."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path

_MODULE = """
from pathlib import Path
from time import perf_counter_ns

from nightgate.hybrid_ann.strategies.hybrid import Hybrid

OWN_NS = {own}
HOST, LASTS = Path({host!r}), Path({lasts!r})


class Slow(Hybrid):
    name, label = "slow", "the hybrid, and a while"
    requires = (*Hybrid.requires, "nightgate_slow")

    def __init__(self, folders, *given):
        super().__init__(folders, *given)
        self._wait = OWN_NS + (int(HOST.read_text()) if HOST.exists() else 0)
        self._lasts = None
        if LASTS.exists():
            mine = str(folders[0])
            whose, lasts, *others = LASTS.read_text().split()
            if whose not in (mine, "nobody"):
                lasts, *others = others
            LASTS.write_text(" ".join((mine, lasts, *others)))
            self._lasts = int(lasts)

    def search(self, query, k):
        start = perf_counter_ns()
        found = super().search(query, k)
        end = perf_counter_ns() + self._wait if self._lasts is None else start + self._lasts
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
    def lasts(self) -> Path:
        """The file that says how many nanoseconds a call lasts, whatever the host and the version: whose the first number is
        (at first `nobody`'s), and a number for each index that is opened after that one."""
        return self.folder / "lasts"

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
            "nightgate_slow.py": _MODULE.format(own=own_ns, host=str(self.host), lasts=str(self.lasts)),
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
