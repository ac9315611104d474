"""How fast a host is when nothing slows it down, remembered from one measurement to the next.

A measurement that falls whole into a slow hour of its host sees no other speed, and only earlier ones can tell it so. So the
fastest that each saw of the kernel of `measure.blocks` is kept, by interpreter and host.
"""

from __future__ import annotations

import json
import logging
import platform
from pathlib import Path

from nightgate.files import write_text
from nightgate.measure import host

log = logging.getLogger(__name__)

_FILE = "pace.json"
_KEPT = 30
"""Measurements. A host that became slower for good is known as such after so many."""


def known(folder: Path) -> list[float]:
    """What the last measurements on this host saw of the kernel at its fastest, ns, oldest first."""
    return _read(folder / _FILE).get(_key(), [])


def remember(folder: Path, fastest_ns: float) -> list[float]:
    """Keep what one more measurement saw; returns what is `known` now."""
    kept = _read(folder / _FILE)
    kept[_key()] = [*kept.get(_key(), []), fastest_ns][-_KEPT:]
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / _FILE, json.dumps(kept, indent=1))
    return kept[_key()]


def _key() -> str:
    """The kernel runs in the interpreter, and is another one on another of these."""
    return f"{host.describe().fingerprint}, {platform.python_implementation()} {platform.python_version()}"


def _read(file: Path) -> dict[str, list[float]]:
    try:
        kept = json.loads(file.read_text())
        return {str(key): [float(one) for one in of if float(one) > 0] for key, of in kept.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        log.warning("%s cannot be read (%s): the host's pace is learned anew", file, error)
        return {}
