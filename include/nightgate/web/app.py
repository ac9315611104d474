"""The board: the last runs and their verdicts, each run's report, and /metrics for Prometheus.

Everything is read from the store and the run folders when it is asked for; the app keeps no state. It knows nothing
of Airflow: whoever mounts it passes the address of the store and the dependencies that let a user in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from fastapi import APIRouter, FastAPI, HTTPException, Request, Response
from fastapi.params import Depends
from fastapi.responses import HTMLResponse

from nightgate import __version__, paths
from nightgate.artifacts import Cache
from nightgate.artifacts.counted import Counted, counted
from nightgate.errors import InputError, NightgateError, ServiceUnavailable
from nightgate.measure import machine
from nightgate.publish import certainty, figures, report
from nightgate.results import files, restore
from nightgate.results.store import Store
from nightgate.web import scraping
from nightgate.web.board import judged, listed

Pools = Mapping[str, Mapping[str, float]]
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
    store_url: Callable[[], str], dependencies: Sequence[Depends] = (), pools: Callable[[], Pools] = dict
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
            with Store(store_url()) as store:
                snapshot, caches = store.snapshot(), store.caches()
        except NightgateError as error:
            return Response(f"{error}\n", 503, media_type="text/plain")
        caches = _with_own(caches)
        page, content_type = prometheus.render(snapshot, pools(), caches, accept=request.headers.get("accept", ""))
        return Response(page, headers={"Content-Type": content_type})

    @board.get("/")
    def index() -> HTMLResponse:
        try:
            with Store(store_url()) as store:
                nights, others = store.nights(_SHOWN), store.others(_SHOWN)
                notes = store.notes([run.run_id for run in (*nights, *others)])
        except NightgateError as error:
            return _page(503, problem=str(error), nights=[], others=[], suites=[])
        newest = {run.suite: run for run in reversed(nights) if run.state}
        return _page(
            200,
            problem="",
            nights=[listed(run, notes) for run in nights],
            others=[listed(run, notes) for run in others],
            suites=[judged(newest[suite], nights, notes) for suite in sorted(newest)],
        )

    @board.get("/runs/{run_id}")
    def run(run_id: str) -> HTMLResponse:
        try:
            here = files.report_path(run_id)
        except InputError as error:
            raise HTTPException(404, str(error)) from None
        try:
            page = restore.read(Store(store_url()), run_id, here.name)
        except NightgateError as error:  # of a run from before the store kept them, or while it is away
            try:
                page = here.read_bytes()
            except OSError:
                why = (
                    "it runs still, or was ended before its report"
                    if here.parent.is_dir()
                    else "it left no folder here"
                )
                away = f"; {error}" if isinstance(error, ServiceUnavailable) else ""
                raise HTTPException(
                    404, f"run {run_id} has no report, in the results database or on this machine: {why}{away}"
                ) from None
        return HTMLResponse(page, headers=_HEADERS)

    app.include_router(board)
    return app


def _with_own(caches: Sequence[Counted]) -> list[Counted]:
    """The caches of all hosts, and that of this one as it is now, under the name that its workers gave it."""
    own = counted(Cache(paths.cache_dir()), machine.name())
    name = next((one.host for one in caches if one.cache == own.cache), own.host)
    others = [one for one in caches if one.cache != own.cache]
    return [own.model_copy(update={"host": name}), *(one for one in others if one.host != name)]


def _page(status: int, **values: object) -> HTMLResponse:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    loader = FileSystemLoader(_HERE)
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"clock": figures.clock, "word": certainty.word}
    style = Markup(Path(report.__file__).with_name("style.css").read_text())
    page = environment.get_template("board.html").render(
        style=style, version=__version__, certainty=certainty, **values
    )
    return HTMLResponse(page, status, headers=_HEADERS)
