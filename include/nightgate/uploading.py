"""The last step of a night: its dashboards and breaches go to Grafana."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from nightgate import paths
from nightgate.errors import ArtifactError, InputError, Unavailable
from nightgate.publish import grafana
from nightgate.record import Summary, counting
from nightgate.results import files

_CATCH_UP = timedelta(days=14)


def upload(run_id: str) -> list[str]:
    """Publish to Grafana: every dashboard, and the breaches of this run and of earlier ones that missed it.

    Returns what was done, a line each.

    Raises:
        Unavailable: ``GRAFANA_URL`` or ``GRAFANA_TOKEN`` is not set.
        GrafanaError: something could not be published; the next upload catches up.
    """
    url, token = _grafana()
    with grafana.Client(url, token) as client:
        return grafana.publish(
            client, _dashboards(), _recent_nights(), folder=_grafana_folder(), message=f"run {run_id}"
        )


def rehearse_upload() -> list[tuple[bool, str]]:
    """What `upload` would do now, found out by reading only: whether each finding is fine, and its sentence.

    Raises:
        Unavailable: ``GRAFANA_URL`` or ``GRAFANA_TOKEN`` is not set. GrafanaError: Grafana cannot be read.
    """
    url, token = _grafana()
    with grafana.Client(url, token) as client:
        return list(grafana.dry_run(client, _dashboards(), folder=_grafana_folder()))


def _grafana() -> tuple[str, str]:
    missing = [name for name in ("GRAFANA_URL", "GRAFANA_TOKEN") if not os.environ.get(name)]
    if missing:
        raise Unavailable(f"{' and '.join(missing)} not set, so no dashboard is uploaded")
    return os.environ["GRAFANA_URL"], os.environ["GRAFANA_TOKEN"]


def _grafana_folder() -> str:
    return os.environ.get("GRAFANA_FOLDER") or "Nightgate"


def _dashboards() -> list[Path]:
    return sorted(paths.dashboards_dir().glob("*.json"))


def _recent_nights() -> list[Summary]:
    """The runs whose breaches belong on the dashboard: those of the last weeks that count, oldest first."""
    since = datetime.now(UTC) - _CATCH_UP
    found = []
    for run_id in files.newest_runs(None, since):
        try:
            summary = files.read_summary(run_id)
        except (ArtifactError, InputError):
            continue  # still running, ended early, or torn: `results show` says which
        if datetime.fromisoformat(summary.finished_at) >= since:
            found.append(summary)
    return sorted(counting(found), key=lambda summary: summary.finished_at)
