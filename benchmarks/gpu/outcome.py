"""What a check finds: values with their limits, per part, and what follows from all of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from nightgate.errors import EXIT_BREACH, EXIT_NOT_MEASURED, EXIT_PASS
from nightgate.record import Finite, Gpu, Host

Verdict = Literal["held", "missed"]
Status = Literal["held", "missed", "measured", "not measured"]
"""``measured``: nothing was demanded of what was found."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Finding(_Model):
    """One thing that was found. ``verdict`` is None where nothing was demanded of it; ``note`` says how it is meant."""

    name: str
    value: Finite | str
    unit: str = ""
    ci95: tuple[Finite, Finite] | None = None
    limit: str | None = None
    verdict: Verdict | None = None
    note: str = ""


def at_most(
    name: str,
    value: float,
    limit: float | None,
    *,
    unit: str = "",
    ci95: tuple[float, float] | None = None,
    note: str = "",
) -> Finding:
    """A value that must not exceed ``limit``, with the whole of its interval; None: it is only reported."""
    holds = limit is None or (ci95[1] if ci95 else value) <= limit
    return _judged(name, value, "≤", limit, holds, unit, ci95, note)


def at_least(
    name: str,
    value: float,
    limit: float | None,
    *,
    unit: str = "",
    ci95: tuple[float, float] | None = None,
    note: str = "",
) -> Finding:
    """A value that must reach ``limit``, with the whole of its interval; None: it is only reported."""
    holds = limit is None or (ci95[0] if ci95 else value) >= limit
    return _judged(name, value, "≥", limit, holds, unit, ci95, note)


def demanded(name: str, holds: bool, note: str = "") -> Finding:
    """Something that is so or is not."""
    return Finding(
        name=name, value="yes" if holds else "no", limit="yes", verdict="held" if holds else "missed", note=note
    )


def _judged(
    name: str, value: float, sign: str, limit: float | None, holds: bool, unit: str, ci95: tuple[float, float] | None, note: str
) -> Finding:  # fmt: skip
    if limit is None:
        return Finding(name=name, value=value, unit=unit, ci95=ci95, note=note)
    verdict: Verdict = "held" if holds else "missed"
    return Finding(name=name, value=value, unit=unit, ci95=ci95, limit=f"{sign} {limit:g}", verdict=verdict, note=note)


class Outcome(_Model):
    """One part. ``reasons`` say what could not be measured."""

    part: str
    status: Status
    reasons: list[str] = []
    findings: list[Finding] = []
    seconds: Finite = 0.0
    peak_device_bytes: int | None = None


def concluded(
    part: str, findings: list[Finding], reasons: list[str], seconds: float, peak_device_bytes: int | None = None
) -> Outcome:
    """An outcome whose status is that of its worst finding; what is missed outweighs what is missing."""
    verdicts = {finding.verdict for finding in findings}
    found: Status = "held" if "held" in verdicts else "measured"
    status: Status = "missed" if "missed" in verdicts else "not measured" if reasons else found
    return Outcome(
        part=part,
        status=status,
        reasons=reasons,
        findings=findings,
        seconds=seconds,
        peak_device_bytes=peak_device_bytes,
    )


class Check(_Model):
    """All of it, as it is written after each part. ``complete`` is False until the last one."""

    started_at: str
    host: Host
    device: Gpu | None
    fault: str | None = None
    """Why there is no device where one was asked for."""
    limits: str | None
    versions: dict[str, str]
    outcomes: list[Outcome] = []
    complete: bool = False

    @property
    def exit_code(self) -> int:
        """0: all held. 1: a limit was missed or results differ. 3: something could not be measured."""
        found = {outcome.status for outcome in self.outcomes}
        if "missed" in found:
            return EXIT_BREACH
        return EXIT_NOT_MEASURED if self.fault or "not measured" in found or not self.complete else EXIT_PASS

    def write(self, file: Path) -> None:
        """Whole or not at all, so that whoever ends the check finds what was measured so far."""
        draft = file.with_name(file.name + ".tmp")
        draft.write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")
        os.replace(draft, file)
