"""A real Prometheus that scrapes what it is told, and what the panels of the dashboards get from it."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import requests
from support.programs import free_port, program

from nightgate import paths

_SCRAPES = 3
_PATIENCE = 60.0


@contextmanager
def scraping(addresses: dict[str, str], folder: Path) -> Iterator[str]:
    """Start Prometheus, let it scrape ``addresses`` (job → address) a few times; gives its own address."""
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "5s"},
        "rule_files": [str(paths.dashboards_dir() / "rules" / "*.yml")],
        "scrape_configs": [
            {"job_name": job, "metrics_path": urlsplit(to).path, "static_configs": [{"targets": [urlsplit(to).netloc]}]}
            for job, to in addresses.items()
        ],
    }
    (folder / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML
    port = free_port()
    command = [
        program("prometheus"), f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]  # fmt: skip
    with open(folder / "log", "wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + _PATIENCE
        while not _scraped(url, len(addresses)):
            assert server.poll() is None and time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.2)
        yield url
    finally:
        server.terminate()
        server.wait(30)


def query(url: str, expression: str) -> list[dict]:
    """The series that ``expression`` gives now."""
    answer = requests.get(f"{url}/api/v1/query", params={"query": expression}, timeout=10).json()
    assert answer["status"] == "success", (expression, answer)
    found = answer["data"]["result"]
    return found if answer["data"]["resultType"] == "vector" else [{"metric": {}, "value": found}]


def panels(suite: str) -> Iterator[tuple[str, str, str, str]]:
    """Dashboard, row, panel and expression of every target of every dashboard, for one suite."""
    for file in sorted(paths.dashboards_dir().glob("*.json")):
        board, row = json.loads(file.read_text()), ""
        for panel in board["panels"]:
            row = panel["title"] if panel["type"] == "row" else row
            for target in panel.get("targets", []):
                expression = re.sub(r"\$(scale|host|benchmark)", ".*", target["expr"].replace("$suite", suite))
                yield board["title"], row, panel["title"], expression


def _scraped(url: str, jobs: int) -> bool:
    try:
        up = query(url, "sum_over_time(up[1m])")
    except (requests.RequestException, ValueError):
        return False
    return len(up) == jobs and all(float(one["value"][1]) >= _SCRAPES for one in up)
