"""The board: the last runs and their verdicts, each run's report, and /metrics for Prometheus.

Everything is read from the store and the run folders when it is asked for; the app keeps no state. It knows nothing
of Airflow: whoever mounts it passes the address of the store and the dependencies that let a user in.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from fastapi import APIRouter, FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.params import Depends
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse
from starlette.exceptions import HTTPException as StarletteHTTPException

from nightgate import paths
from nightgate.artifacts import Cache
from nightgate.artifacts.counted import Counted, counted
from nightgate.errors import InputError, NightgateError, NotMeasured, ServiceUnavailable
from nightgate.measure import machine
from nightgate.publish.summary import render_summary
from nightgate.publish.templates import templates
from nightgate.record import DAG_ID
from nightgate.results import files, restore, under_way
from nightgate.results.store import Store
from nightgate.web import compare as compare_page
from nightgate.web import feeds, filters, runbook, runs, scraping
from nightgate.web import series as series_page
from nightgate.web.board import judged, listed, newest_of_each

Pools = Mapping[str, Mapping[str, float]]
"""Pool → state → slots."""

_SHOWN = 30
_HERE = Path(__file__).parent
_FRESH = {"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}
_THEME = (_HERE / "theme.js").read_text()
_DIGEST = base64.b64encode(hashlib.sha256(_THEME.encode()).digest()).decode()
_HEADERS = {
    # the pages load nothing and run just this script, for their colours; Airflow shows them in a frame of its own origin
    "Content-Security-Policy": f"default-src 'none'; script-src 'sha256-{_DIGEST}'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'self'; frame-ancestors 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def create_app(
    store_url: Callable[[], str],
    dependencies: Sequence[Depends] = (),
    pools: Callable[[], Pools] = dict,
    login: Callable[[Request], str] | None = None,
) -> FastAPI:
    """The app.

    Args:
        store_url: asked at each request, so that a changed connection needs no restart.
        pools: asked at each scrape: the slots of Airflow's pools.
        dependencies: FastAPI ``Depends`` of the board's routes. /metrics is outside of them: Prometheus cannot log
            in, so it is open to this host and needs ``Authorization: Bearer $NIGHTGATE_METRICS_TOKEN`` from others;
            see `scraping`. So are the badge and the feed.
        login: where somebody without a login is sent, who wants to see a page.
    """
    app = FastAPI(title="Nightgate", docs_url=None, redoc_url=None, openapi_url=None)
    board = APIRouter(dependencies=list(dependencies))
    _say_errors(app, login)
    _for_programs(app, store_url, pools)
    _for_people(board, store_url)
    app.include_router(board)
    return app


def _say_errors(app: FastAPI, login: Callable[[Request], str] | None) -> None:
    """To people on a page, to programs as JSON."""

    @app.exception_handler(RequestValidationError)
    def not_understood(request: Request, error: RequestValidationError) -> Response:
        said = "; ".join(f"{one['loc'][-1]}: {one['msg']}" for one in error.errors())
        return refused(request, HTTPException(422, f"the address is not complete: {said}"))

    @app.exception_handler(StarletteHTTPException)
    def refused(request: Request, error: StarletteHTTPException) -> Response:
        if "text/html" not in request.headers.get("accept", ""):
            return JSONResponse({"detail": error.detail}, error.status_code, error.headers)
        if error.status_code == 401 and login:
            return RedirectResponse(login(request), 303)
        return _problem(request, error.status_code, str(error.detail))


def _for_programs(app: FastAPI, store_url: Callable[[], str], pools: Callable[[], Pools]) -> None:
    """What nobody can log in for: `scraping` says who may read it."""

    @app.get("/metrics")
    def metrics(request: Request) -> Response:
        _require_scraper(request)
        from nightgate.publish import prometheus

        try:
            with Store(store_url()) as store:
                snapshot, caches = store.snapshot(), store.caches()
        except NightgateError as error:
            return Response(f"{error}\n", 503, media_type="text/plain")
        caches = _with_own(caches)
        page, content_type = prometheus.render(snapshot, pools(), caches, accept=request.headers.get("accept", ""))
        return Response(page, headers={"Content-Type": content_type})

    @app.get("/badge/{suite}.svg")
    def badge(request: Request, suite: str, scale: str = "") -> Response:
        _require_scraper(request)
        with _answered(), Store(store_url()) as store:
            return Response(feeds.badge_of(store, suite, scale), headers=_FRESH, media_type="image/svg+xml")

    @app.get("/feed.atom")
    def feed(request: Request) -> Response:
        _require_scraper(request)
        with _answered(), Store(store_url()) as store:
            page = feeds.feed_of(store, str(request.url_for("index")))
            return Response(page, media_type="application/atom+xml")


def _for_people(board: APIRouter, store_url: Callable[[], str]) -> None:
    """The pages."""

    @board.get("/")
    def index(request: Request, suite: str = "", scale: str = "", host: str = "", dag: str = "") -> HTMLResponse:
        chosen = {"suite": suite, "scale": scale, "host": host, "dag": dag}
        try:
            with Store(store_url()) as store:
                nights, others = store.nights(_SHOWN, brief=True), store.others(_SHOWN, brief=True)
                ids = [run.run_id for run in (*nights, *others)]
                notes, at_work = store.notes(ids), under_way.of_runs(store, ids)
                each = newest_of_each(nights)
                judged_ = [
                    judged(known, store)
                    for run in each
                    if filters.holds(run, chosen) and (known := store.run(run.run_id))
                ]
        except NightgateError as error:
            return _problem(request, 503, str(error))
        return _page(
            "board.html",
            200,
            nights=[listed(run, notes, at_work.get(run.run_id, ())) for run in nights if filters.holds(run, chosen)],
            others=[listed(run, notes, at_work.get(run.run_id, ())) for run in others if filters.holds(run, chosen)],
            suites=judged_,
            chips=filters.chips(each, chosen),
        )

    @board.get("/series")
    def series(
        suite: str, benchmark: str, variant: str, device: str, metric: str, scale: str = "", host: str = ""
    ) -> HTMLResponse:
        with _answered():
            found = series_page.page(Store(store_url()), suite, scale, benchmark, variant, device, metric, host)
        if found is None:
            raise HTTPException(
                404,
                f"there is no {metric} of {benchmark} {variant} on {device} in suite {suite} at {scale or 'any'} scale",
            )
        return _page("series.html", 200, page=found)

    @board.get("/compare")
    def compare(
        first: str, second: str, variants: str = "", benchmark: str = "", device: str = "", anyway: bool = False
    ) -> HTMLResponse:
        asked = compare_page.Asked(first, second, variants, benchmark, device, anyway)
        with _answered():
            return _page("compare.html", 200, page=compare_page.page(Store(store_url()), asked))

    @board.get("/runbooks")
    def runbooks() -> HTMLResponse:
        """What each alert means and what ends it."""
        return _page("runbooks.html", 200, text=runbook.html())

    @board.get("/runs/{run_id}/summary.md")
    def summary(run_id: str) -> Response:
        """The verdict as Markdown."""
        with _answered(), Store(store_url()) as store:
            if (found := store.summary(run_id)) is None:
                raise HTTPException(404, f"there is no judged run {run_id}")
            return Response(render_summary(found), media_type="text/markdown; charset=utf-8")

    @board.get("/runs/{run_id}")
    def run(run_id: str, dag: str = DAG_ID) -> HTMLResponse:
        """``dag``: where ``run_id`` is Airflow's own name of it."""
        return _of_run(store_url, run_id if dag == DAG_ID else f"{dag}.{run_id}")


def _require_scraper(request: Request) -> None:
    if not scraping.may_scrape(request):
        raise HTTPException(401, scraping.refusal(), {"WWW-Authenticate": "Bearer"})


@contextmanager
def _answered() -> Iterator[None]:
    """What is asked wrongly, is not there or does not answer becomes the status of HTTP that says so."""
    try:
        yield
    except (InputError, NotMeasured) as error:
        raise HTTPException(503 if isinstance(error, ServiceUnavailable) else 404, str(error)) from None
    except NightgateError as error:
        raise HTTPException(503, str(error)) from None


def _problem(request: Request, status: int, problem: str) -> HTMLResponse:
    title = {401: "Log in first", 403: "This is not for you", 404: "There is no such page"}.get(
        status, "The results cannot be read" if status == 503 else "This cannot be shown"
    )
    home = request.scope.get("root_path", "") + "/"
    return _page(
        "problem.html", status, title=title, problem=problem, home=home, tone="breach" if status == 503 else "running"
    )


def _of_run(store_url: Callable[[], str], run_id: str) -> HTMLResponse:
    """The report of a run with what the board knows of it above; without one, what is known of the run so far.

    Raises:
        HTTPException: 404, nothing is known of it.
    """
    try:
        here = files.report_path(run_id)
    except InputError as error:
        raise HTTPException(404, str(error)) from None
    known, away = None, ""
    try:
        with Store(store_url()) as store:
            known = runs.above(store, run_id)
            page = restore.read(store, run_id, here.name)
    except NightgateError as error:  # of a run from before the store kept them, or while it is away
        away = f"; {error}" if isinstance(error, ServiceUnavailable) else ""
        page = here.read_bytes() if here.is_file() else b""
    if page:
        text = page.decode()
        return HTMLResponse(
            text.replace("<main>", f"<main>\n{_text('above.html', above=known)}", 1) if known else text,
            headers=_HEADERS,
        )
    if known:
        return _page("run.html", 200, above=known)
    why = "it runs still, or was ended before its report" if here.parent.is_dir() else "it left no folder here"
    raise HTTPException(404, f"run {run_id} has no report, in the results database or on this machine: {why}{away}")


def _with_own(caches: Sequence[Counted]) -> list[Counted]:
    """The caches of all hosts, and that of this one as it is now, under the name that its workers gave it."""
    own = counted(Cache(paths.cache_dir()), machine.name())
    name = next((one.host for one in caches if one.cache == own.cache), own.host)
    others = [one for one in caches if one.cache != own.cache]
    return [own.model_copy(update={"host": name}), *(one for one in others if one.host != name)]


def _page(template: str, status: int, **values: object) -> HTMLResponse:
    return HTMLResponse(_text(template, **values), status, headers=_HEADERS)


def _text(template: str, **values: object) -> str:
    from markupsafe import Markup

    return templates(_HERE).get_template(template).render(theme=Markup(_THEME), **values)
