"""A check as plain text, 100 columns wide."""

from __future__ import annotations

import textwrap
from typing import get_args

from gpu.outcome import Check, Finding, Outcome, Status
from nightgate.errors import EXIT_BREACH, EXIT_NOT_MEASURED
from nightgate.publish import figures

WIDTH = 100
_NAME, _VALUE, _LIMIT = 44, 34, 10
_ENDS = {
    EXIT_BREACH: "a limit was missed, or results differ from the CPU's",
    EXIT_NOT_MEASURED: "not everything could be measured",
}


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
    """The last lines: how many parts ended how, what is missing without a device, and what the exit code says."""
    counts = [
        f"{count} {status}" for status in get_args(Status)
        if (count := sum(outcome.status == status for outcome in check.outcomes))
    ]  # fmt: skip
    lines = [", ".join(counts) or "nothing was measured"]
    if check.fault:
        lines.append(
            "not measured: anything on a GPU, that is the CUDA builds of the engines, the exact search, rerank_pq() and "
            f"IndexIVFPQ on the device, its memory and its share of the peaks: {check.fault}"
        )
    if check.exit_code:
        lines.append(f"exit code {check.exit_code}: {_ENDS[check.exit_code]}")
    return "\n".join(["", *map(_wrapped, lines)])


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
