"""A real Prometheus that scrapes one address, and what the panels of the dashboards get from it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from nightgate import paths

_SCRAPES = 3
_PATIENCE = 60.0


@contextmanager
def scraping(address: str, folder: Path) -> Iterator[str]:
    """Start Prometheus, let it scrape ``address`` a few times; gives its own address."""
    program = shutil.which("prometheus")
    if not program:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(
            "prometheus is missing: `make setup-servers` installs it"
        )
    parts = urlsplit(address)
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "5s"},
        "rule_files": [str(paths.dashboards_dir() / "rules" / "*.yml")],
        "scrape_configs": [
            {"job_name": "nightgate", "metrics_path": parts.path, "static_configs": [{"targets": [parts.netloc]}]}
        ],
    }
    (folder / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        program, f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]  # fmt: skip
    with open(folder / "log", "wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + _PATIENCE
        while not _scraped(url):
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


def panels() -> Iterator[tuple[str, str, str, str]]:
    """Dashboard, row, panel and expression of every target of every dashboard."""
    for file in sorted(paths.dashboards_dir().glob("*.json")):
        board, row = json.loads(file.read_text()), ""
        for panel in board["panels"]:
            row = panel["title"] if panel["type"] == "row" else row
            for target in panel.get("targets", []):
                yield board["title"], row, panel["title"], target["expr"]


def _scraped(url: str) -> bool:
    try:
        up = query(url, "sum_over_time(up[1m])")
    except (requests.RequestException, ValueError):
        return False
    return bool(up) and float(up[0]["value"][1]) >= _SCRAPES
