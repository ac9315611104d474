"""Runs of test size in a NIGHTGATE_HOME of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import yaml

ROOT = Path(__file__).resolve().parents[2]

SMALL = {
    # one engine, and the five clips that an interval of the word error rate takes
    "transcription.variants": "[pywhispercpp]", "transcription.audio_seconds": 60, "transcription.precision": 0.5,
    "transcription.batch_seconds": 5, "transcription.gpu_batch": 4,
    "hybrid_ann.rows": 4000, "hybrid_ann.queries": 100, "hybrid_ann.controls": "[]",
    "pgvector_search.rows": 4000, "pgvector_search.queries": 100, "pgvector_search.controls": "[]",
    # so few vectors per list that the shipped lists=100 would be all probes
    "pgvector_search.lists": 20,
}  # fmt: skip


@dataclass
class Home:
    """A NIGHTGATE_HOME with its results folder, and the command in it."""

    path: Path
    env: dict[str, str] = field(default_factory=lambda: {"NIGHTGATE_CACHE_BYTES": "20GB"})

    @property
    def runs(self) -> Path:
        return self.path / "runs"

    def suite(self, *, only: Sequence[str] = (), controls: Sequence[str] = (), **limits: str) -> None:
        """From now on the suite is of test size and has these limits of the hybrid: a run without overrides counts.

        Args:
            only: the benchmarks that it speaks of; empty: all.
            controls: of the hybrid.
        """
        suite = yaml.safe_load((ROOT / "include/suites/nightly.yaml").read_text())
        for path, value in SMALL.items():
            benchmark, key = path.split(".")
            suite["scales"]["smoke"][benchmark][key] = yaml.safe_load(str(value))
        suite["scales"]["smoke"]["hybrid_ann"]["controls"] = list(controls)
        suite["objectives"]["hybrid_ann"] |= limits
        for section in (suite, suite["objectives"], *suite["scales"].values()):
            for name in {"transcription", "hybrid_ann", "pgvector_search"} - set(only or section):
                section.pop(name, None)
        file = self.path / "suite.yaml"
        file.write_text(yaml.safe_dump(suite, sort_keys=False))
        self.env["NIGHTGATE_SUITE"] = str(file)

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "nightgate.cli", *words]

    def environment(self) -> dict[str, str]:
        return os.environ | {"NIGHTGATE_HOME": str(self.path), "NIGHTGATE_RUNS": str(self.runs)} | self.env

    def nightgate(self, *words: str, timeout: float = 900) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*words), env=self.environment(), capture_output=True, text=True, timeout=timeout, check=False
        )

    def processes(self) -> list[str]:
        """Every process that works for this home, by its command line."""
        found = []
        for process in psutil.process_iter(["pid", "cmdline", "environ", "status"]):
            facts = process.info
            ours = (facts["environ"] or {}).get("NIGHTGATE_HOME") == str(self.path) or any(
                str(self.path) in word for word in facts["cmdline"] or ()
            )
            if ours and facts["status"] != psutil.STATUS_ZOMBIE:
                found.append(f"{facts['pid']} {' '.join(facts['cmdline'] or ())}")
        return found
