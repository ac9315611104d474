import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Airflow reads its settings when it is imported, so it gets a process of its own.
PROGRAM = """
import importlib.util, json, sys
if "not installed" in sys.argv:
    def hide(metadata):
        every = metadata.distributions
        metadata.distributions = lambda **given: [one for one in every(**given) if one.name != "nightgate"]

    # before Python 3.12 Airflow asks the backport, where that is installed
    for name in ("importlib.metadata", "importlib_metadata"):
        if importlib.util.find_spec(name):
            hide(importlib.import_module(name))
import airflow.plugins_manager as manager

before = set(sys.modules)
names = [plugin.name for plugin in manager._get_plugins()[0]]
loaded = {name for name in set(sys.modules) - before if not name.startswith("airflow")}

from airflow.api_fastapi.app import create_app
from starlette.testclient import TestClient

app = create_app(apps="core")

def status(path, host="127.0.0.1"):
    answer = TestClient(app, "http://localhost", client=(host, 50000), raise_server_exceptions=False).get(path)
    return [answer.status_code, answer.headers["content-type"].split(";")[0]]

print("ANSWER " + json.dumps({
    "names": names, "errors": manager.get_import_errors(), "loaded": sorted(loaded),
    "metrics": status("/nightgate/metrics"), "metrics_elsewhere": status("/nightgate/metrics", "10.0.0.9"),
    "board": status("/nightgate/"), "run": status("/nightgate/runs/night-1"),
    "views": [view["href"] for view in manager._get_ui_plugins()[0]],
}))
"""


LIGHT = {
    "nightgate",
    "nightgate_plugin",
    "nightgate.orchestration",
    "nightgate.orchestration.noting",
    "nightgate.orchestration.plugin",
}


@pytest.mark.parametrize("how", ["installed", "not installed"])
def test_the_plugin_loads_once_and_light_and_is_closed_in_a_real_airflow(postgres_url, tmp_path, how):
    host = postgres_url.split("host=")[1]
    env = os.environ | {
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "AIRFLOW_CONN_NIGHTGATE_RESULTS": f"postgres://postgres:@/postgres?host={host}",
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, how], env=env, capture_output=True, text=True, timeout=120, check=False
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("ANSWER ")]
    assert lines, done.stderr[-3000:]
    answer = json.loads(lines[0].removeprefix("ANSWER "))
    assert answer["names"] == ["nightgate"]
    assert answer["errors"] == {}
    assert {name for name in answer["loaded"] if name.startswith("nightgate")} <= LIGHT
    assert answer["metrics"] == [200, "text/plain"]
    assert answer["metrics_elsewhere"][0] == 401
    assert answer["board"][0] == 401
    assert answer["run"][0] == 401
    assert answer["views"] == ["nightgate/", "nightgate/runs/{RUN_ID}?dag={DAG_ID}", "nightgate/?dag={DAG_ID}"]
