"""What the candidates of a night measured in turns with their control, round by round."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pydantic import BaseModel, ConfigDict

from nightgate.record import Device

if TYPE_CHECKING:
    from nightgate.results.store import Store


class SeriesKey(NamedTuple):
    """One watched series of a suite on a host."""

    benchmark: str
    variant: str
    device: Device
    metric: str

    def __str__(self) -> str:
        return f"{self.benchmark}/{self.variant}/{self.device}/{self.metric}"


class Measured(BaseModel):
    """``tonight`` and ``control``: the metric in its unit, one value per round; of a round that was disturbed none. ``same_build``:
    both asked one and the same index. ``control_environment``: the digest of the control's. ``why_not``: there are no rounds."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    tonight: tuple[float, ...] = ()
    control: tuple[float, ...] = ()
    same_build: bool = True
    control_environment: str | None = None
    control_run: str | None = None
    why_not: str | None = None


_PUT = """
INSERT INTO nightgate.beside (run_id, benchmark, variant, device, metric, found) VALUES (%s, %s, %s, %s, %s, %s::jsonb)
ON CONFLICT (run_id, benchmark, variant, device, metric) DO UPDATE SET found = excluded.found, at = clock_timestamp()
"""
_OF = "SELECT run_id, benchmark, variant, device, metric, found FROM nightgate.beside WHERE run_id = ANY(%s)"


def put(store: Store, run_id: str, found: dict[SeriesKey, Measured]) -> None:
    with store.writing() as connection, connection.cursor() as cursor:
        cursor.executemany(_PUT, [(run_id, *key, one.model_dump_json()) for key, one in found.items()])


def of_runs(store: Store, run_ids: list[str]) -> dict[tuple[str, SeriesKey], Measured]:
    return {
        (run_id, SeriesKey(*key)): Measured.model_validate(found) for run_id, *key, found in store.rows(_OF, (run_ids,))
    }
