"""How long the board takes with a year of nights, in a database of its own, and the report of a reference run: `make ratios-board`,
about a minute."""

from __future__ import annotations

import re
import statistics
import tempfile
import time
from pathlib import Path

from fastapi.testclient import TestClient

from nightgate.publish.report import render_report
from nightgate.record import STORED, Host, Metric, Objective, Record, Summary
from nightgate.results.store import Store
from nightgate.stack.postgres import Cluster, tuned_for_airflow
from nightgate.web import app

NIGHTS, SERIES = 365, 20
RUN = Path(__file__).parent / "reference" / "full-20261122T142323.874Z"
HOST = Host(fingerprint="abc", cpu="a cpu", cores=2, memory_bytes=2**34)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        cluster = Cluster(Path(folder) / "postgres", tuned_for_airflow())
        cluster.start()
        try:
            _fill(Store(cluster.url()))
            client = TestClient(app.create_app(cluster.url), "http://localhost", client=("127.0.0.1", 5))
            board = _timed("the board", client, "/")
            (address, *_) = re.findall(r'href="(series\?[^"]+)"', board)
            _timed("a series", client, "/" + address.replace("&amp;", "&"))
        finally:
            cluster.stop()
    _report()


def _report() -> None:
    summary, times = Summary.model_validate_json((RUN / "summary.json").read_bytes(), context=STORED), []
    for _ in range(3):
        start = time.perf_counter()
        page = render_report(summary, RUN)
        times.append(time.perf_counter() - start)
    print(f"the report of {RUN.name}: {min(times):.1f} s (the first {times[0]:.1f}), {len(page.encode()) / 1e3:.0f} kB")


def _fill(store: Store) -> None:
    """A year of nights with as many objectives as series."""
    for night in range(NIGHTS):
        day = f"2026-{1 + night // 31:02d}-{1 + night % 31:02d}"
        if night // 31 in (1, 3, 5, 8, 10) and night % 31 > 27:
            continue
        records = []
        for number in range(SERIES):
            value = 0.001 * (1 + number / 10 + (night * 7919 + number) % 100 / 2000)
            made = Record(
                benchmark="hybrid_ann", variant=f"v{number}", device="cpu", status="measured", host=HOST, gated=True,
                settings={"variants": [f"v{number}"], "rows": 50_000}, started_at=f"{day}T02:00:00.000Z",
                finished_at=f"{day}T02:03:00.000Z",
            )  # fmt: skip
            for name in ("latency_p50", "latency_p95", "latency_p99", "first_touch_p95", "open_loop_p95"):
                made.metrics[name] = Metric(value=value, unit="seconds", n=3000, ci95=(value * 0.97, value * 1.04))
            made.facts.inputs = {"data": "d1"}
            made.objectives = [Objective(metric="latency_p95", op="<", limit=0.005, value=value, verdict="pass")]
            records.append(made)
        store.save_summary(
            Summary(run_id=f"night-{day}", dag_id="nightly_benchmarks", suite="nightly", scale="full", state="pass", host=HOST,
                    scheduled=True, overrides={}, started_at=f"{day}T02:00:00.000Z", finished_at=f"{day}T02:20:00.000Z", results=records)
        )  # fmt: skip
    with store.writing() as connection:
        connection.execute("ANALYZE")


def _timed(name: str, client: TestClient, path: str) -> str:
    times = []
    for _ in range(8):
        start = time.perf_counter()
        answer = client.get(path)
        times.append(time.perf_counter() - start)
        assert answer.status_code == 200, answer.text[:500]
    print(
        f"{name}: {statistics.median(times[1:]) * 1e3:.0f} ms (the first {times[0] * 1e3:.0f}), {len(answer.content) / 1e3:.0f} kB"
    )
    return answer.text


if __name__ == "__main__":
    main()
