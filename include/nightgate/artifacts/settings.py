"""What the environment says about the cache."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import ByteSize, TypeAdapter, ValidationError

from nightgate.errors import InputError

LIMIT, PATIENCE, URL, REDIS = (
    "NIGHTGATE_CACHE_BYTES",
    "NIGHTGATE_CACHE_PATIENCE",
    "NIGHTGATE_CACHE_URL",
    "NIGHTGATE_REDIS_URL",
)


@dataclass(frozen=True)
class Settings:
    """How a cache behaves. The defaults are a private cache without a limit.

    Attributes:
        limit: bytes that all artefacts together may take; None for no limit.
        patience: seconds a builder waits for room under the limit.
        url: an fsspec address (``file:///mnt/shared``, ``s3://bucket/path``) where finished artefacts are shared.
        redis_url: where builders on several hosts take turns; None: on this host's files only.
        lock_life: seconds after which the Redis lock of a holder that died or stood still is another's.
        clock: seconds since 1970. It orders uses and ends reservations; a wrong one harms neither.
    """

    limit: int | None = None
    patience: float = 600.0
    url: str | None = None
    redis_url: str | None = None
    lock_life: float = 30.0
    clock: Callable[[], float] = time.time


def from_environment() -> Settings:
    """The settings that ``NIGHTGATE_CACHE_BYTES|PATIENCE|URL`` and ``NIGHTGATE_REDIS_URL`` describe.

    Raises:
        InputError: a value that cannot be read.
    """
    limit, patience = os.environ.get(LIMIT), os.environ.get(PATIENCE)
    return Settings(
        limit=parse_bytes(limit) if limit else None,
        patience=_seconds(patience) if patience else Settings.patience,
        url=os.environ.get(URL) or None,
        redis_url=os.environ.get(REDIS) or None,
    )


def parse_bytes(text: str) -> int:
    """``20000000000``, ``20GB`` (10⁹) or ``20GiB`` (2³⁰) as bytes.

    Raises:
        InputError: it is none of these.
    """
    try:
        if not re.fullmatch(r"\s*[\d.]+\s*\w*\s*", text):  # pydantic would read the beginning and pass over the rest
            raise ValueError
        return TypeAdapter(ByteSize).validate_python(text)
    except (ValueError, ValidationError):
        raise InputError(f"{LIMIT}={text!r} is no size", "write bytes, or a number with a unit: 20GB, 20GiB") from None


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise InputError(f"{PATIENCE}={text!r} is no number of seconds", "write seconds, for example 600")
    return seconds


def state_dir(root: Path) -> Path:
    """Where the cache keeps its own small files, beside the artefacts."""
    return root / ".state"
