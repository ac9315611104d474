"""What is known of a host from earlier measurements: how it is by itself, when no other program is at work.

A file of JSON lines per fingerprint, below NIGHTGATE_HOME; the newest sixty are kept. A measurement beside which another
program was at work leaves none. It is read before a measurement is judged and written after it, so that no decision changes later.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from nightgate.files import write_text

log = logging.getLogger(__name__)

KEPT = 60


class Known(BaseModel):
    """Medians over the samples of one measurement, in the units of `nightgate.facts.HostSample`; ``fastest``: of the
    computation, the tenth of the rounds that were fastest end here; ``others``, ``stolen`` and ``lost`` are of all of it."""

    model_config = ConfigDict(extra="ignore")
    at: str
    cpu: float
    fastest: float
    memory: float
    cache: float
    others: float = 0.0
    stolen: float = 0.0
    lost: float = 0.0


def file_of(home: Path, fingerprint: str) -> Path:
    return home / "hosts" / f"{fingerprint}.jsonl"


def read(file: Path) -> list[Known]:
    """Oldest first; a line that cannot be read is skipped, and the log says so."""
    try:
        lines = file.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        log.warning("what is known of this host cannot be read: %s: %s", file, error.strerror)
        return []
    found = []
    for number, line in enumerate(lines, 1):
        try:
            found.append(Known.model_validate_json(line))
        except ValidationError:
            log.warning("%s, line %d cannot be read and is skipped", file, number)
    return found


def add(file: Path, known: Sequence[Known], one: Known) -> None:
    """Write ``known`` and ``one``, without the oldest where they are too many. A file that cannot be written is no reason
    to lose what was measured: the log says so."""
    lines = [json.dumps(each.model_dump(mode="json")) + "\n" for each in (*known, one)][-KEPT:]
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, "".join(lines))
    except OSError as error:
        log.warning("what is known of this host cannot be written: %s: %s", file, error.strerror)
