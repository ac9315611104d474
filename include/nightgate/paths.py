"""Where things live: what the package brings along, results, and NIGHTGATE_HOME.

The suite, the dashboards with their alert rules, Airflow's pools and the DAG file are data of the package. In a checkout
of the project they lie where people look for them, and the package has links to them.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from nightgate.errors import InputError, choices, nearest

EMBEDDED_PGVECTOR = "NIGHTGATE_EMBEDDED_PGVECTOR"
"""The variable in which the embedded stack hands the address of its benchmark cluster to those it starts."""

VARIABLES = (
    "NIGHTGATE_HOME",
    "NIGHTGATE_RUNS",
    "NIGHTGATE_SUITE",
    "NIGHTGATE_CACHE_BYTES",
    "NIGHTGATE_CACHE_PATIENCE",
    "NIGHTGATE_CACHE_URL",
    "NIGHTGATE_REDIS_URL",
    "NIGHTGATE_MODELS_URL",
    "NIGHTGATE_METRICS_TOKEN",
    "NIGHTGATE_SHARED_HOST",
    "NIGHTGATE_AGAIN_AFTER",
    "NIGHTGATE_LOCK",
    "NIGHTGATE_HOST",
    "NIGHTGATE_HOSTS",
    EMBEDDED_PGVECTOR,
)
"""Every variable of our own that something reads."""

# Kubernetes and Docker put the addresses of a service called "nightgate…" into the environment of its neighbours
_OF_A_CLUSTER = re.compile(r"NIGHTGATE_(\w+_)?(SERVICE_(HOST|PORT\w*)|PORT(_\d+_\w+)?|ENV_\w+|NAME)")

RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:+~-]{0,199}")


_PACKAGE = Path(__file__).parent


def checkout() -> Path | None:
    """The project's folder when the package is used from its checkout; None when it is installed elsewhere."""
    dags = _PACKAGE / "dags"
    return dags.resolve().parent if dags.is_symlink() else None


def home_path() -> Path:
    """As `home`, whether or not it is there: for who only looks."""
    return Path(os.environ.get("NIGHTGATE_HOME") or "~/.nightgate").expanduser().absolute()


def home() -> Path:
    """``NIGHTGATE_HOME`` (default ``~/.nightgate``): clusters, caches, logs. Created when missing.

    Raises:
        InputError: the folder cannot be created or written.
    """
    path = home_path()
    try:
        path.mkdir(parents=True, exist_ok=True)
        writable = os.access(path, os.W_OK | os.X_OK)
    except OSError as error:
        raise InputError(
            f"NIGHTGATE_HOME={path} cannot be created ({error.strerror})",
            "set NIGHTGATE_HOME to a folder you can write to",
        ) from error
    if not writable:
        raise InputError(f"NIGHTGATE_HOME={path} is not writable", "set NIGHTGATE_HOME to a folder you can write to")
    return path


def cache_dir() -> Path:
    return home() / "cache"


def suite_file() -> Path:
    """The shipped suite; ``NIGHTGATE_SUITE`` names another."""
    own = os.environ.get("NIGHTGATE_SUITE")
    return Path(own).expanduser().absolute() if own else (_PACKAGE / "suites" / "nightly.yaml").resolve()


def shipped_suite(name: str) -> Path:
    """The file of a suite that the package brings along.

    Raises:
        InputError: there is none of this ``name``.
    """
    there = {file.stem: file for file in sorted((_PACKAGE / "suites").resolve().glob("*.yaml"))}
    if name not in there:
        raise InputError(f"no suite {name!r} comes along{nearest(name, tuple(there))}", choices(tuple(there)))
    return there[name]


def use_suite(file: Path | None) -> None:
    """For this process and those it starts, `suite_file` is ``file``; None changes nothing."""
    if file:
        os.environ["NIGHTGATE_SUITE"] = str(file.expanduser().absolute())


def pools_file() -> Path:
    """Airflow's pools, as ``airflow pools import`` reads them."""
    return _PACKAGE / "pools.json"


def check_environment() -> None:
    """Refuse a variable of ours that nothing reads: it is a slip, and the run would go on without what it says.

    Raises:
        InputError: with the nearest name that means something.
    """
    for name in sorted(os.environ):
        if name.startswith("NIGHTGATE_") and name not in VARIABLES and not _OF_A_CLUSTER.fullmatch(name):
            raise InputError(
                f"nothing reads the variable {name}{nearest(name, VARIABLES)}", f"unset it, or {choices(VARIABLES)}"
            )


def dashboards_dir() -> Path:
    """The dashboards, and in ``rules`` the alert rules."""
    return (_PACKAGE / "dashboards").resolve()


def shipped_dags() -> list[Path]:
    """The files that make the DAGs `nightly_benchmarks` and `regression_watch`."""
    return sorted((_PACKAGE / "dags").resolve().glob("*.py"))


def dags_dir() -> Path:
    """The DAG folder of the embedded Airflow: ``dags`` of the checkout, else ``NIGHTGATE_HOME/airflow/dags``."""
    return (checkout() or home() / "airflow") / "dags"


def plugins_dir() -> Path:
    """As `dags_dir`, its plugin folder, which need not exist."""
    return dags_dir().with_name("plugins")


def runs_dir() -> Path:
    """``NIGHTGATE_RUNS``; else ``benchmarks/runs`` of the checkout, or without one ``NIGHTGATE_HOME/runs``."""
    if own := os.environ.get("NIGHTGATE_RUNS"):
        return Path(own).absolute()
    project = checkout()
    return project / "benchmarks" / "runs" if project else home() / "runs"


def run_dir(run_id: str) -> Path:
    """The folder of one run. A run id that is no plain file name is refused, so that nothing is written elsewhere."""
    if not RUN_ID.fullmatch(run_id):
        raise InputError(
            f"run id {run_id!r} cannot name a folder",
            "use letters, digits and . _ : + ~ - only, at most 200 of them",
        )
    return runs_dir() / run_id
