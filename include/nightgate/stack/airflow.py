"""How the Airflow processes of the embedded stack are configured and started."""

from __future__ import annotations

import base64
import json
import os
import secrets
import sys
from pathlib import Path

from nightgate import paths
from nightgate.files import write_text

ADMIN, VIEWER = "admin", "viewer"
"""The users: one may do everything, the other may look."""


def environment(home: Path, *, port: int, metadata_url: str, results_url: str, scheduled: bool) -> dict[str, str]:
    """The environment every Airflow process of the stack shares.

    Args:
        home: NIGHTGATE_HOME; Airflow's own files go to ``home/airflow``.
        scheduled: whether cron slots fire. A single run turns them off, so that no missed night starts beside it.
    """
    keys = _secrets(home)
    address = f"http://127.0.0.1:{port}"
    airflow = {
        "CORE__EXECUTOR": "LocalExecutor",
        "CORE__PARALLELISM": "4",
        "CORE__DAGS_FOLDER": str(_dags_folder()),
        "CORE__PLUGINS_FOLDER": str(paths.plugins_dir()),
        "CORE__LOAD_EXAMPLES": "False",
        "CORE__FERNET_KEY": keys["fernet_key"],
        "CORE__EXECUTION_API_SERVER_URL": f"{address}/execution/",
        "CORE__SIMPLE_AUTH_MANAGER_USERS": f"{ADMIN}:admin,{VIEWER}:viewer",
        "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(home / "airflow" / "passwords.json"),
        "DATABASE__SQL_ALCHEMY_CONN": metadata_url,
        "API__HOST": "127.0.0.1",
        "API__PORT": str(port),
        "API__BASE_URL": address,
        "API__WORKERS": "1",
        "API__SECRET_KEY": keys["secret_key"],
        "API_AUTH__JWT_SECRET": keys["jwt_secret"],
        "LOGGING__BASE_LOG_FOLDER": str(home / "airflow" / "logs"),
        "SCHEDULER__USE_JOB_SCHEDULE": str(scheduled),
        "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.5",
        # files are parsed at the start and then rarely: parsing beside a measurement would disturb it
        "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "300",
        "DAG_PROCESSOR__REFRESH_INTERVAL": "300",
        "USAGE_DATA_COLLECTION__ENABLED": "False",
    }
    return {
        **os.environ,
        **{f"AIRFLOW__{name}": value for name, value in airflow.items()},
        "AIRFLOW_HOME": str(home / "airflow"),
        "AIRFLOW_CONN_NIGHTGATE_RESULTS": results_url,
        "NIGHTGATE_HOME": str(home),
        # the venv's commands first: Airflow starts some of its own by name
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "PYTHONUNBUFFERED": "1",
    }


def _dags_folder() -> Path:
    """The folder with the shipped DAGs in it, whose files are put there where they are missing."""
    folder = paths.dags_dir()
    for shipped in paths.shipped_dags():
        if not (file := folder / shipped.name).exists():
            folder.mkdir(parents=True, exist_ok=True)
            file.write_bytes(shipped.read_bytes())
    return folder


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "airflow", *words]


COMPONENTS: dict[str, tuple[str, ...]] = {
    "api-server": ("api-server",),
    "dag-processor": ("dag-processor",),
    # without their log servers, which would listen on every address; the API server reads the same files
    "scheduler": ("scheduler", "--skip-serve-logs"),
    "triggerer": ("triggerer", "--skip-serve-logs"),
}


def password(home: Path, user: str = ADMIN) -> str:
    """The password of a user, made on first use and kept."""
    return _secrets(home)["password" if user == ADMIN else f"password_of_{user}"]


def _secrets(home: Path) -> dict[str, str]:
    """Keys of this installation, made once; readable by the owner only."""
    file = home / "airflow" / "secrets.json"
    kept: dict[str, str] = json.loads(file.read_text()) if file.exists() else {}
    keys = {
        "fernet_key": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        "secret_key": secrets.token_urlsafe(48),
        "jwt_secret": secrets.token_urlsafe(64),
        "password": secrets.token_urlsafe(9),
        f"password_of_{VIEWER}": secrets.token_urlsafe(9),
        **kept,
    }
    if keys == kept:
        return keys
    file.parent.mkdir(parents=True, exist_ok=True)
    users = {ADMIN: keys["password"], VIEWER: keys[f"password_of_{VIEWER}"]}
    for path, content in ((file, keys), (file.with_name("passwords.json"), users)):
        write_text(path, json.dumps(content), mode=0o600)
    return keys
