"""Shows the Nightgate board inside Airflow, at ``/nightgate/``, and serves ``/nightgate/metrics``.

Every component loads this file, task processes too, so it imports nothing heavy: the app is made at the first request.
"""

from __future__ import annotations

import logging
from functools import cache
from typing import TYPE_CHECKING
from urllib.parse import quote

from airflow.plugins_manager import AirflowPlugin

from nightgate.orchestration import noting

if TYPE_CHECKING:
    from fastapi import FastAPI, Request
    from starlette.types import Receive, Scope, Send
_PREFIX = "/nightgate"


def store_url() -> str:
    """Where the results are: the Airflow connection ``nightgate_results``, or its environment variable."""
    from airflow.models.connection import Connection
    from airflow.sdk.exceptions import AirflowNotFoundException

    from nightgate.errors import ServiceUnavailable
    from nightgate.results.store import url_from_airflow

    try:
        connection = Connection.get_connection_from_secrets("nightgate_results")
    except AirflowNotFoundException:
        raise ServiceUnavailable(
            "there is no Airflow connection nightgate_results", "add it, or set AIRFLOW_CONN_NIGHTGATE_RESULTS"
        ) from None
    return url_from_airflow(connection.get_uri())


def pool_slots() -> dict[str, dict[str, float]]:
    """The slots of every pool by state, from Airflow's own database; none when it does not answer.

    The results are in another database, and a scrape shows them all the same.
    """
    from airflow.models.pool import Pool
    from airflow.utils.session import create_session
    from sqlalchemy.exc import SQLAlchemyError

    try:
        with create_session() as session:
            stats = Pool.slots_stats(session=session)
    except SQLAlchemyError as error:
        logging.getLogger(__name__).warning("the pools cannot be read (%s)", type(error).__name__)
        return {}
    return {
        pool: {
            "open": slots["open"],
            "running": slots["running"],
            "queued": slots["queued"],
            "scheduled": slots["scheduled"],
            "deferred": slots["deferred"],
        }
        for pool, slots in stats.items()
    }


@cache
def board() -> FastAPI:
    from airflow.api_fastapi.auth.managers.models.resource_details import AccessView
    from airflow.api_fastapi.core_api.security import requires_access_view
    from fastapi import Depends

    from nightgate.web.app import create_app

    # a mounted app inherits no authentication from Airflow: without this line everybody could read the board
    return create_app(
        store_url, dependencies=[Depends(requires_access_view(AccessView.PLUGINS))], pools=pool_slots, login=login
    )


def login(request: Request) -> str:
    """Where Airflow lets somebody log in and then go on to what was asked for."""
    root = request.scope.get("root_path", "").removesuffix(_PREFIX)
    return f"{root}/api/v2/auth/login?next={quote(str(request.url), safe='')}"


class LazyBoard:
    """The board as an ASGI app that is imported when it is first asked for."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await board()(scope, receive, send)


class NightgatePlugin(AirflowPlugin):
    name = "nightgate"
    fastapi_apps = [{"app": LazyBoard(), "url_prefix": _PREFIX, "name": "Nightgate"}]  # noqa: RUF012
    external_views = [  # noqa: RUF012
        {
            "name": "Nightgate",
            # the slash at the end matters: without it Airflow's own pages answer
            "href": "nightgate/",
            "url_route": "nightgate",
            "destination": "nav",
            "category": "browse",
        },
        {
            "name": "Nightgate",
            "href": "nightgate/runs/{RUN_ID}?dag={DAG_ID}",
            "url_route": "nightgate-run",
            "destination": "dag_run",
        },
        {
            "name": "Nightgate",
            "href": "nightgate/?dag={DAG_ID}",
            "url_route": "nightgate-dag",
            "destination": "dag",
        },
    ]
    listeners = [noting]  # noqa: RUF012
