"""The pgvector benchmark at full scale: its load and its client beside others, and how long the whole takes.

`make ratios-pgvector` takes about ten minutes and 10 GB of disk, in a folder of its own that is removed afterwards.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table as Screen

from nightgate import paths
from nightgate.artifacts import Cache
from nightgate.benchmark import Context
from nightgate.measure import estimates, host
from nightgate.measure.child import run_child
from nightgate.measure.clock import time_calls
from nightgate.pgvector_search import address, locks, server, tables
from nightgate.pgvector_search.asking import asker
from nightgate.pgvector_search.settings import Settings
from nightgate.pgvector_search.store import Pgvector
from nightgate.stack.postgres import programs
from nightgate.stack.stack import Stack
from nightgate.vector_search.store import Address
from nightgate.vector_search.store_benchmark import StoreBenchmark
from nightgate.vectors.dataset import open_dataset

VARIANT = "ivfflat_halfvec"
SETTINGS = Settings(variants=(VARIANT,), rows=1_000_000, queries=1000)
STORE = Pgvector()
DRAFT = tables.Table("ivfflat", "0" * 20, SETTINGS.rows, SETTINGS.dim, "cosine", 100)
VECTORS, CALLS, SKIPPED = 25, 30, 5  # queries compared with pgbench, calls of each, of them not counted


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    home = paths.home() / "ratios" / "pgvector"
    shutil.rmtree(home, ignore_errors=True)
    os.environ |= {"NIGHTGATE_HOME": str(home), "NIGHTGATE_RUNS": str(home / "runs")}
    os.environ.pop(address.URL_VARIABLE, None)
    console = Console(width=140)
    screen = Screen("what", "measured", "wanted", title=f"{host.describe().cpu}, {host.describe().cores} cores")
    try:
        for name, wanted in (
            ("cold, from an empty database to the verdict", "≤ 240 s"),
            ("table and index reused", "≤ 60 s"),
        ):
            seconds, records = whole()
            screen.add_row(f"the whole benchmark, {name}", f"{seconds:.0f} s", wanted)
            console.print(said(records))
        add_parts(screen, records)
        with Stack(home, "measure"):
            where = STORE.address(os.environ[STORE.service.embedded])
            prepared = StoreBenchmark(STORE).prepare(SETTINGS, Context("cpu", Cache(paths.cache_dir())))
            asked = Asked(where, prepared.vectors, STORE.collection(VARIANT, prepared.data, SETTINGS))
            ratio, low, high = run_child(client, asked, threads=1).value
            screen.add_row(
                "our client / pgbench, the same prepared statement", f"{ratio:.3f} ({low:.3f}–{high:.3f})", "≤ 1.10"
            )
            rates = loads(where, prepared.vectors)
        for name, what, wanted in (
            ("example", "rows/s loaded, ours / pgvector-python's loading example", "≥ 2"),
            ("same table", "the same, where the example's loop fills a table like ours", ""),
        ):
            ratio = rates["ours"] / rates[name]
            screen.add_row(what, f"{ratio:.1f} ({rates['ours']:,.0f} / {rates[name]:,.0f})", wanted)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    console.print(screen)


def whole() -> tuple[float, list[dict[str, Any]]]:
    """Seconds and records of the command that users run."""
    command = [sys.executable, "-m", "nightgate.cli", "measure", "pgvector_search", "--scale", "full", "--json"]
    start = time.monotonic()
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    return time.monotonic() - start, json.loads(done.stdout)


def said(records: list[dict[str, Any]]) -> str:
    lines = []
    for record in records:
        m = record["metrics"]
        values = [f"{n} {m[n]['value']:.4f}" for n in ("recall_at_5", "latency_p50", "latency_p95") if n in m]
        lines.append(f"{record['variant']}: {', '.join(values)} {[o['verdict'] for o in record['objectives']]}")
    return "\n".join(lines)


def add_parts(screen: Screen, records: list[dict[str, Any]]) -> None:
    (gated,) = (record for record in records if record["objectives"])
    p95, qps = gated["metrics"]["latency_p95"]["value"], gated["metrics"]["qps"]
    screen.add_row(
        "P95 over its limit of 30 ms, at recall@5 ≥ 0.90", f"{p95 / 0.030:.2f} ({p95 * 1e3:.1f} ms)", "≤ 0.90"
    )
    screen.add_row(
        f"of the reused benchmark, the {qps['n']:,} timed queries alone", f"{qps['n'] / qps['value']:.0f} s", ""
    )


def loads(where: Address, vectors: Path) -> dict[str, float]:
    """Rows per second of each way to load, in turns there and back, the commit included."""
    base = np.array(open_dataset(vectors).base)
    ways = {"ours": _ours, "example": _example, "same table": _row_by_row}
    spent = dict.fromkeys(ways, 0.0)
    with server.session(where, "load") as connection:
        from pgvector.psycopg import register_vector

        register_vector(connection)
        locks.wait(connection, shared=False)
        for name in (*ways, *reversed(ways)):
            start = perf_counter_ns()
            ways[name](connection, where, base)
            spent[name] += (perf_counter_ns() - start) / 1e9
            tables.drop_drafts(connection)
    return {name: 2 * len(base) / seconds for name, seconds in spent.items()}


def _ours(connection: Any, where: Address, base: np.ndarray) -> None:
    tables.load(connection, where, DRAFT, base)


def _example(connection: Any, where: Address, base: np.ndarray) -> None:
    """The steps of pgvector-python's loading example: a plain table with a bigserial id, row by row."""
    from pgvector import Vector

    name = f"{tables.SCHEMA}.{DRAFT.draft}"
    connection.execute(f"CREATE TABLE {name} (id bigserial, vec vector({base.shape[1]}))")
    with connection.cursor() as cursor, cursor.copy(f"COPY {name} (vec) FROM STDIN WITH (FORMAT BINARY)") as copy:
        copy.set_types(["vector"])
        for vector in base:
            copy.write_row([Vector(vector)])


def _row_by_row(connection: Any, where: Address, base: np.ndarray) -> None:
    """The example's loop into a table like ours: what the table itself makes of the difference."""
    from pgvector import Vector

    name = f"{tables.SCHEMA}.{DRAFT.draft}"
    connection.execute(f"CREATE UNLOGGED TABLE {name} (id int4 NOT NULL, vec vector({base.shape[1]}))")
    with connection.cursor() as cursor, cursor.copy(f"COPY {name} (id, vec) FROM STDIN WITH (FORMAT BINARY)") as copy:
        copy.set_types(["int4", "vector"])
        for number, vector in enumerate(base):
            copy.write_row([number, Vector(vector)])


@dataclass(frozen=True)
class Asked:
    """``table`` on the server at ``where``, which holds the data set in ``vectors``."""

    where: Address
    vectors: Path
    table: tables.Table


def client(asked: Asked) -> tuple[float, float, float]:
    """In a child: the mean of one call through our client over that through pgbench, for several queries, in turns ABBA."""
    data, url = open_dataset(asked.vectors), asked.where.url
    ratios = []
    with asker(asked.where, asked.table, SETTINGS.k) as session:
        queries = STORE.encode(asked.table, data.queries[:VECTORS])
        session.check()
        session.tune({"probes": 4}, queries[0])
        session.warm(data.base)
        for query in queries:
            spent = [0.0, 0.0]
            for which in (0, 1, 1, 0):
                if which:
                    spent[1] += _pgbench(session.prepared.replace("$1", ":v"), query.to_text(), session.changed, url)
                else:
                    durations, _ = time_calls(
                        session.search, [query] * (CALLS - SKIPPED), passes=1, warmup=[query] * SKIPPED
                    )
                    spent[0] += durations.mean() / 1e9
            ratios.append(spent[0] / spent[1])
    value, _, bounds = estimates.mean(np.array(ratios))
    assert bounds
    return value, *bounds


def _pgbench(statement: str, vector: str, session: dict[str, str], url: str) -> float:
    """Mean seconds of a transaction, by pgbench's own log."""
    settings = {**session, "ivfflat.probes": "4"}
    options = " ".join(f"-c {name}={value}" for name, value in settings.items())
    with tempfile.TemporaryDirectory() as folder:
        script, log = Path(folder, "query.sql"), Path(folder, "log")
        script.write_text(statement + "\n")
        command = [programs() / "pgbench", "-n", "-M", "prepared", "-t", CALLS, "-f", script, "-D", f"v={vector}",
                   "-l", f"--log-prefix={log}", url]  # fmt: skip
        subprocess.run([str(word) for word in command], env=os.environ | {"PGOPTIONS": options}, check=True,
                       stdout=subprocess.DEVNULL)  # fmt: skip
        (file,) = Path(folder).glob("log.*")
        microseconds = [int(line.split()[2]) for line in file.read_text().splitlines()]
    return float(np.mean(microseconds[SKIPPED:])) / 1e6


if __name__ == "__main__":
    import pgvector_ratios  # by its name, under which a child finds its functions

    pgvector_ratios.main()
