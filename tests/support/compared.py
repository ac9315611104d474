"""Records of two engines that are held against each other, and their raw samples."""

from __future__ import annotations

import numpy as np
from support.specs import add

from nightgate.measure import estimates
from nightgate.publish.comparing import compare
from nightgate.record import Host, Record

HOST = Host(fingerprint="abc", cpu="a cpu", cores=2, memory_bytes=2**34)
WORDS = np.array([40, 31, 44, 52, 25, 38, 60, 33])
ERRORS = np.array([3, 0, 5, 1, 2, 0, 4, 2])
REPEATS = np.array([0.079, 0.081, 0.080, 0.082, 0.078])


def engine(variant, xrt=1.0, more_errors=0, host=HOST, device="cpu", **more):
    """A record as transcription leaves it, and its raw samples."""
    record = Record(
        **{"benchmark": "transcription", "variant": variant, "device": device, "status": "measured", "host": host,
           "samples": f"transcription-{device}.npz", "settings": {"repeats": 5}, "facts": {"inputs": {"clips": "s"}}} | more
    )  # fmt: skip
    repeats, errors = REPEATS * xrt, ERRORS + more_errors
    add(record, "xrt", *estimates.ratio_of_sums(repeats, 1.0))
    add(record, "rtfx", float(1 / repeats.mean()), 5)
    add(record, "wer", *estimates.error_rate(errors, WORDS))
    add(record, "batch_xrt", 0.06 * xrt, 3)
    add(record, "load_seconds", 0.2 * xrt)
    raw = {
        "xrt_repeats": repeats,
        "wer_errors": errors,
        "wer_words": WORDS,
        "batch_xrt_repeats": np.array([3.0, 3.1, 2.9]) * xrt / 60,
    }
    return record, {f"{variant}/{name}": array for name, array in raw.items()}


def absent(variant, device="cpu", status="skipped", reason="not installed: pip install it"):
    return Record(
        benchmark="transcription", variant=variant, device=device, status=status, reason=reason, settings={"repeats": 5}
    ), {}


def side_by_side(first, second):
    """The comparison of the last record of each, and its rows by metric."""
    found = compare((first.results[0], first), (second.results[-1], second))
    return found, {row.metric: row for row in found.rows}
