"""The board: the last runs and their verdicts, each run's report, and /metrics for Prometheus.

Everything is read from the store and the run folders when it is asked for; the app keeps no state. It knows nothing
of Airflow: whoever mounts it passes the address of the store and the dependencies that let a user in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, HTTPException, Request, Response
from fastapi.responses import HTMLResponse

from nightgate import __version__, paths, registry
from nightgate.artifacts import Cache
from nightgate.errors import InputError, NightgateError
from nightgate.measure.durations import NIGHT_SECONDS
from nightgate.publish import figures, report
from nightgate.publish.absent import skips
from nightgate.record import Record, differing
from nightgate.results.store import Run, Store
from nightgate.web import scraping

Pools = Mapping[str, Mapping[str, int]]
"""Pool → state → slots."""

_SHOWN = 30
_HERE = Path(__file__).parent
_HEADERS = {
    # the pages run no script and load nothing; Airflow shows them in a frame of its own origin
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def create_app(
    store_url: Callable[[], str], dependencies: Sequence[Any] = (), pools: Callable[[], Pools] = dict
) -> FastAPI:
    """The app.

    Args:
        store_url: asked at each request, so that a changed connection needs no restart.
        pools: asked at each scrape: the slots of Airflow's pools.
        dependencies: FastAPI ``Depends`` of the board's routes. /metrics is outside of them: Prometheus cannot log
            in, so it is open to this host and needs ``Authorization: Bearer $NIGHTGATE_METRICS_TOKEN`` from others;
            see `scraping`.
    """
    app = FastAPI(title="Nightgate", docs_url=None, redoc_url=None, openapi_url=None)
    board = APIRouter(dependencies=list(dependencies))

    @app.get("/metrics")
    def metrics(request: Request) -> Response:
        if not scraping.may_scrape(request):
            raise HTTPException(401, scraping.refusal(), {"WWW-Authenticate": "Bearer"})
        from nightgate.publish import prometheus

        try:
            snapshot = Store(store_url()).snapshot()
        except NightgateError as error:
            return Response(f"{error}\n", 503, media_type="text/plain")
        cache = Cache(paths.cache_dir())
        page, content_type = prometheus.render(snapshot, pools(), cache, accept=request.headers.get("accept", ""))
        return Response(page, headers={"Content-Type": content_type})

    @board.get("/")
    def index() -> HTMLResponse:
        try:
            with Store(store_url()) as store:
                nights, others = store.nights(_SHOWN), store.others(_SHOWN)
        except NightgateError as error:
            return _page(503, problem=str(error), nights=[], others=[], newest=None, rows=[], headline="", skipped=[])
        newest = next((run for run in nights if run.state), None)
        rows = _with_history(newest, nights) if newest else []
        headline = report.headline(str(newest.state), rows) if newest else "No night has been judged yet"
        return _page(
            200,
            problem="",
            nights=[_line(run) for run in nights],
            others=[_line(run) for run in others],
            newest=newest,
            rows=rows,
            headline=headline,
            skipped=skips(newest.results) if newest else [],
        )

    @board.get("/runs/{run_id}")
    def run(run_id: str) -> HTMLResponse:
        try:
            page = (paths.run_dir(run_id) / "report.html").read_bytes()
        except InputError as error:
            raise HTTPException(404, str(error)) from None
        except OSError:
            here = paths.run_dir(run_id).is_dir()
            why = "it runs still, or was ended before its report" if here else "it left no folder here"
            raise HTTPException(404, f"run {run_id} has no report on this machine: {why}") from None
        return HTMLResponse(page, headers=_HEADERS)

    app.include_router(board)
    return app


def _page(status: int, **values: Any) -> HTMLResponse:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    loader = FileSystemLoader(_HERE)
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["clock"] = figures.clock
    style = Markup(Path(report.__file__).with_name("style.css").read_text())
    page = environment.get_template("board.html").render(style=style, version=__version__, **values)
    return HTMLResponse(page, status, headers=_HEADERS)


def _line(run: Run) -> dict[str, Any]:
    """One run in the list."""
    rows = report.objective_rows(run.results)
    duration = "–"
    if run.started_at and run.finished_at:
        duration = figures.human(figures.epoch(run.finished_at) - figures.epoch(run.started_at), "seconds")
    unmet = [f"{row['metric']} of {row['variant']} on {row['device']}" for row in rows if row["verdict"] != "pass"]
    return {
        "run": run,
        "state": run.state or _unjudged(run),
        "overrides": _overrides(run),
        "skipped": skips(run.results),
        "duration": duration,
        "unmet": unmet,
        "held": sum(row["verdict"] == "pass" for row in rows),
        "objectives": len(rows),
        "has_report": (paths.run_dir(run.run_id) / "report.html").exists(),
    }


def _unjudged(run: Run) -> str:
    """What to call a run without a verdict: after the time-out of the DAG nothing of it can be under way any more."""
    old = run.recorded_at is not None and datetime.now(UTC) - run.recorded_at > timedelta(seconds=NIGHT_SECONDS)
    return "unfinished" if old else "running"


def _overrides(run: Run) -> list[str]:
    """What a run did otherwise than the suite, an item each."""
    if run.standing != "ad-hoc":
        return []
    if run.overrides is None:
        return ["not known"]
    return [f"{path} {figures.plain(value)}" for path, value in run.overrides.items()]


def _with_history(newest: Run, nights: Sequence[Run]) -> list[dict[str, Any]]:
    """The objectives of ``newest``, each with the value before it and the night since which its verdict is the same.

    Only judged nights that did the same work at the same scale on the same host are looked at.
    """
    older = [run for run in nights[nights.index(newest) + 1 :] if run.state and run.scale == newest.scale]
    past = [(run, {row["key"]: row for row in report.objective_rows(run.results)}, _by_series(run)) for run in older]
    own = _by_series(newest)
    rows = report.objective_rows(newest.results)
    for row in rows:
        series = row["key"][:3]
        seen = [
            (run, found[row["key"]])
            for run, found, records in past
            if row["key"] in found and _comparable(own[series], records[series])
        ]
        row["before"] = seen[0][1]["value"] if seen else None
        since = newest
        for run, found in seen:
            if found["verdict"] != row["verdict"]:
                break
            since = run
        row["since"] = since.started_at
    return rows


def _by_series(run: Run) -> dict[tuple[str, str, str], Record]:
    return {(record.benchmark, record.variant, record.device): record for record in run.results}


def _comparable(first: Record, second: Record) -> bool:
    hosts = [record.host.fingerprint if record.host else None for record in (first, second)]
    return hosts[0] == hosts[1] and not differing(first, second, registry.defaults(first.benchmark))
