"""A check as plain text, 100 columns wide."""

from __future__ import annotations

import textwrap
from typing import get_args

from gpu.outcome import Check, Finding, Outcome, Status
from nightgate.publish import figures

WIDTH = 100
_NAME, _VALUE, _LIMIT = 44, 34, 10


def header(check: Check) -> str:
    """Where it runs, and with what."""
    versions = ", ".join(f"{name} {version}" for name, version in check.versions.items())
    lines = [f"device: {figures.gpu_text(check.host) if check.device or check.fault is None else check.fault}"]
    lines += [f"host: {check.host.cpu}, {check.host.cores} cores", f"with: {versions}"]
    return "\n".join(_wrapped(line) for line in lines)


def part(outcome: Outcome) -> str:
    """A heading, a line for each finding, and what could not be measured."""
    memory = f", {figures.human(outcome.peak_device_bytes, 'bytes')} on the device" if outcome.peak_device_bytes else ""
    lines = ["", f"{outcome.part}: {outcome.status} ({outcome.seconds:.1f} s{memory})"]
    lines += [line(finding) for finding in outcome.findings]
    return "\n".join([*lines, *(_wrapped(f"  ! {reason}") for reason in outcome.reasons)])


def line(finding: Finding) -> str:
    """Name, value with its interval, limit and verdict; the note below."""
    value = finding.value if isinstance(finding.value, str) else _number(finding)
    long = len(value) > _VALUE  # such as where an engine ran: a line of its own
    cells = f"  {finding.name:{_NAME}} {'' if long else value:{_VALUE}} {finding.limit or '':{_LIMIT}} {finding.verdict or ''}"
    below = [text for text in (value if long else "", finding.note) if text]
    return "\n".join([cells.rstrip(), *(_wrapped(f"      {text}") for text in below)])


def summary(check: Check) -> str:
    """The last line."""
    counts = [
        f"{count} {status}" for status in get_args(Status)
        if (count := sum(outcome.status == status for outcome in check.outcomes))
    ]  # fmt: skip
    return f"\n{', '.join(counts) or 'nothing was measured'}"


def _number(finding: Finding) -> str:
    assert not isinstance(finding.value, str)
    ends = (
        f" ({figures.human(finding.ci95[0], finding.unit)}–{figures.human(finding.ci95[1], finding.unit)})"
        if finding.ci95
        else ""
    )
    return f"{figures.human(finding.value, finding.unit)}{ends}"


def _wrapped(text: str) -> str:
    indent = " " * (len(text) - len(text.lstrip()) + 2)
    return "\n".join(
        textwrap.wrap(text, WIDTH, subsequent_indent=indent, drop_whitespace=True, initial_indent="") or [""]
    )
