"""Tables of the store as older versions made them, with what they held."""

from __future__ import annotations

import json
from pathlib import Path

import psycopg
from support.nights import at, record, summary

SCHEMAS = Path(__file__).with_name("schemas")
"""What made the tables before there were numbers, word for word."""

OLDEST, WITH_STANDING, WITH_SUITES = 1, 2, 3
SHAPES = (OLDEST, WITH_STANDING, WITH_SUITES)


def connect(store):
    return psycopg.connect(**store._parameters, autocommit=True)


def of_before(store, version, rows):
    """Tables as version ``version`` made them, holding ``rows``: (run id, night, standing, suite)."""
    with connect(store) as connection:
        connection.execute((SCHEMAS / f"{version}.sql").read_bytes())
        for run_id, night, standing, suite in rows:
            run = {
                "run_id": run_id,
                "dag_id": "nightly_benchmarks",
                "scale": "smoke",
                "state": "pass",
                "finished_at": at(night, 9),
            }
            kept = summary(night).model_dump(mode="json", exclude={"results", "scheduled", "overrides", "suite"}) | {
                "run_id": run_id
            }
            old = record(night, 0.001 * night).model_dump(mode="json", exclude={"suite", "looks"})
            result = {
                "run_id": run_id, "benchmark": "hybrid_ann", "variant": "hybrid", "device": "cpu", "status": "measured",
                "judged": True, "fingerprint": "abc", "measured_at": at(night, 3),
            }  # fmt: skip
            if version >= WITH_STANDING:
                kept |= {"scheduled": standing == "night", "overrides": {}}
                run |= {"standing": standing, "overrides": "{}"}
                result |= {"standing": standing}
            if version >= WITH_SUITES:
                kept, old = kept | {"suite": suite}, old | {"suite": suite}
                run, result = run | {"suite": suite}, result | {"suite": suite}
            for table, values in (
                ("runs", run | {"head": json.dumps(kept)}),
                ("results", result | {"record": json.dumps(old)}),
            ):
                places = ", ".join(["%s"] * len(values))
                connection.execute(
                    f"INSERT INTO nightgate.{table} ({', '.join(values)}) VALUES ({places})", list(values.values())
                )


ROWS = [
    ("scheduled__2026-03-02T02:00:00+00:00", 1, "night", "nightly"),
    ("smoke-20260303T021500.123Z", 2, "stand-in", "nightly"),
    ("scheduled__2026-03-04T02:00:00+00:00", 3, "night", "own"),
]
