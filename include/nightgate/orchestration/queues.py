"""Which queues somebody serves, where Airflow hands its tasks to Celery's workers."""

from __future__ import annotations

import logging
from collections.abc import Collection

log = logging.getLogger(__name__)

_PATIENCE = 5.0  # seconds in which every worker has answered


def unserved(queues: Collection[str]) -> list[str]:
    """Those of ``queues`` that no worker takes tasks from, sorted.

    None where Airflow runs its tasks by itself, and none where it cannot be found out: whoever asks is run by a worker itself,
    so an answer of nobody means that the broker is slow or away.
    """
    from airflow.configuration import conf

    if "CeleryExecutor" not in conf.get("core", "executor"):
        return []
    from airflow.providers.celery.executors.celery_executor_utils import create_celery_app

    try:
        with create_celery_app(conf) as app:
            found = app.control.inspect(timeout=_PATIENCE).active_queues()
    except Exception as error:  # of Celery, Kombu or the client of the broker, each with a tree of its own
        log.warning("who serves the queues cannot be found out: %s", error)
        return []
    if not found:
        log.warning("who serves the queues cannot be found out: no worker answered within %.0f s", _PATIENCE)
        return []
    served = {queue["name"] for of_worker in found.values() for queue in of_worker}
    return sorted(queue for queue in set(queues) if queue not in served)
