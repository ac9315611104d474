"""What a scrape of /nightgate/metrics costs after a week and after a year of nights. `make ratios-metrics` takes a minute."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import perf_counter_ns

import numpy as np
from rich.console import Console
from rich.table import Table

from nightgate.artifacts import Cache, Settings
from nightgate.artifacts.counted import counted
from nightgate.measure import host
from nightgate.publish.prometheus import render
from nightgate.record import Summary
from nightgate.results.store import Store
from nightgate.stack.postgres import Cluster, tuned_for_airflow

NIGHT = "full-20261122T171500.023Z"  # a kept night, whose records are stored again and again
SCRAPES = 30


def main() -> None:
    night = Summary.model_validate_json(
        Path(__file__).with_name("reference").joinpath(NIGHT, "summary.json").read_text()
    )
    table = Table(
        "nights stored",
        "series",
        "scrape, median ms",
        "wanted",
        title=f"{host.describe().cpu}, {host.describe().cores} cores",
    )
    with tempfile.TemporaryDirectory() as folder:
        cluster = Cluster(Path(folder, "postgres"), tuned_for_airflow())
        cluster.start()
        try:
            with Store(cluster.url()) as store:
                store.migrate()
                for nights in (7, 365):
                    fill(store, night, nights)
                    cache = Cache(Path(folder, "cache"), Settings())
                    milliseconds, series = scrapes(Store(cluster.url()), cache)
                    table.add_row(f"{nights}", f"{series}", f"{milliseconds:.1f}", "≤ 50, and no growth")
        finally:
            cluster.stop()
    Console(width=120).print(table)


def fill(store: Store, night: Summary, nights: int) -> None:
    """One night a day, the newest today."""
    today = datetime.now(UTC)
    for age in range(nights):
        moment = (today - timedelta(days=age)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        records = [record.model_copy(update={"finished_at": moment}) for record in night.results]
        changes = {
            "run_id": f"night-{age}",
            "results": records,
            "started_at": moment,
            "finished_at": moment,
            "scheduled": True,
            "overrides": {},
        }
        store.save_summary(night.model_copy(update=changes))


def scrapes(store: Store, cache: Cache) -> tuple[float, int]:
    """Median milliseconds of reading the store and writing the page, and how many series it has."""
    spent, page = [], b""
    for _ in range(SCRAPES):
        start = perf_counter_ns()
        page, _ = render(store.snapshot(), {"cpu": {"open": 4}}, [counted(cache, "east")])
        spent.append((perf_counter_ns() - start) / 1e6)
    lines = [line for line in page.splitlines() if not line.startswith(b"#")]
    return float(np.median(spent)), len(lines)


if __name__ == "__main__":
    main()
