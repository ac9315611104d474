"""Small wavs with a header written by hand, so that tests of it need no library."""

from __future__ import annotations

import struct


def wav(seconds: float = 0.5, rate: int = 1000) -> bytes:
    """16 bit mono; the samples count up, so that no two parts are alike."""
    samples = struct.pack(f"<{round(seconds * rate)}h", *(7 * number % 9000 for number in range(round(seconds * rate))))
    fmt = struct.pack("<HHIIHH", 1, 1, rate, 2 * rate, 2, 16)
    body = b"WAVE" + chunk(b"fmt ", fmt) + chunk(b"data", samples)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)
