"""What people see, in Debian's Chromium through the real Airflow: from a red square to the sentence, the board and its pages, the
form, who may see what, on a phone and in the dark, and what a screen reader is told.

With SHOTS=FOLDER the pictures of the README are taken; `make pictures` does so.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

from nightgate.record import DAG_ID
from nightgate.stack import airflow

PHONE = {"width": 390, "height": 844}
DESK = {"width": 1280, "height": 900}
SECONDS = 30_000  # milliseconds of patience for a page
expect.set_options(timeout=SECONDS)
PAGES = ("the board", "a series", "a run", "two runs")


@pytest.fixture(scope="module")
def stack(home) -> Iterator[dict]:
    home.suite(only=["hybrid_ann"], controls=["ivfpq_refine"], latency_p95="< 0.02")
    started = home.nightgate("up")
    assert started.returncode == 0, started.stderr
    yield json.loads((home.path / "stack.json").read_text())
    assert home.nightgate("down").returncode == 0
    assert home.processes() == []


@pytest.fixture(scope="module")
def nights(home, stack) -> list[str]:
    """Good ones, and then a limit that nobody keeps."""
    found = []
    good = int(os.environ.get("GOOD_NIGHTS", "1"))
    for number in range(good + 1):
        if number == good:
            home.suite(only=["hybrid_ann"], controls=["ivfpq_refine"], latency_p95="< 1e-6")
        done = home.nightgate("run", "--json")
        assert done.returncode == (1 if number == good else 0), done.stderr
        found.append(json.loads(done.stdout)["run_id"])
    return found


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = shutil.which("chromium")
    assert program, "make setup-servers brings Chromium"
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield opened
        opened.close()


def log_in(page: Page, home, user: str) -> None:
    page.get_by_label("Username").fill(user)
    page.get_by_label("Password").fill(airflow.password(home.path, user))
    page.get_by_role("button", name="Sign in").click()


@pytest.fixture(scope="module")
def session(browser, home, stack, tmp_path_factory) -> Path:
    """The cookies of somebody who has logged in."""
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(stack["url"])
        log_in(page, home, airflow.ADMIN)
        page.wait_for_url(re.compile(r"/(?!.*login)"), timeout=SECONDS)
        expect(page.get_by_text("Dags", exact=True).first).to_be_visible(timeout=SECONDS)
        file = tmp_path_factory.mktemp("session") / "cookies.json"
        context.storage_state(path=file)
    return file


@pytest.fixture
def page(browser, session, nights) -> Iterator[Page]:
    with browser.new_context(storage_state=session, viewport=DESK) as context:
        context.set_default_timeout(SECONDS)
        yield context.new_page()


def shot(page: Page, name: str, **more) -> None:
    if folder := os.environ.get("SHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png", **more)


def addresses(stack, nights, page: Page) -> dict[str, str]:
    """Of each page of the board, by its name."""
    board = f"{stack['url']}/nightgate/"
    page.goto(board)
    series = page.get_by_role("link", name="P95 latency").first.get_attribute("href")
    return {
        "the board": board, "a series": board + str(series), "a run": f"{board}runs/{nights[-1]}",
        "two runs": f"{board}compare?first={nights[0]}&second={nights[-1]}",
    }  # fmt: skip


def test_from_a_red_square_one_click_leads_to_the_sentence(page, stack, nights):
    page.goto(f"{stack['url']}/dags/{DAG_ID}/runs/{quote(nights[-1])}/tasks/hybrid_ann.cpu.gate")
    expect(page.get_by_text("past it").first).to_be_visible()
    assert "Traceback" not in page.inner_text("body")
    with page.context.expect_page() as opened:
        page.get_by_role("link", name="Nightgate").or_(page.get_by_role("button", name="Nightgate")).last.click()
    board = opened.value
    board.wait_for_load_state()
    expect(board.get_by_role("heading", level=1)).to_contain_text("breached")
    expect(board.get_by_text("since the last good night").first).to_be_visible()


def test_the_note_of_the_run_says_how_it_ended(page, stack, nights):
    answer = page.request.get(f"{stack['url']}/api/v2/dags/{DAG_ID}/dagRuns/{nights[-1]}")
    note = answer.json()["note"]
    assert re.match(r"\d objectives? (is|are) breached\.", note)
    assert f"/nightgate/runs/{nights[-1]}" in note
    assert "P95 latency is" in note


def test_inside_airflow_the_run_has_a_tab(page, stack, nights):
    page.goto(f"{stack['url']}/dags/{DAG_ID}/runs/{quote(nights[-1])}/plugin/nightgate-run")
    frame = page.frame_locator("iframe")
    expect(frame.get_by_role("heading", level=1)).to_contain_text("breached")


def test_its_colours_follow_airflows_switch(page, stack, nights):
    """Airflow keeps the choice in the storage of the browser, which tells every other document of its origin."""
    paper = "getComputedStyle(document.body).backgroundColor"
    page.emulate_media(color_scheme="light")
    page.goto(f"{stack['url']}/dags/{DAG_ID}/runs/{quote(nights[-1])}/plugin/nightgate-run")
    expect(page.frame_locator("iframe").get_by_role("heading", level=1)).to_be_visible()
    frame = page.frames[-1]
    light = frame.evaluate(paper)
    for theme, same in (("dark", False), ("light", True), ("dark", False), ("system", True)):
        page.evaluate("theme => localStorage.setItem('theme', theme)", theme)
        frame.wait_for_function("theme => document.documentElement.dataset.theme === theme", arg=theme)
        assert (frame.evaluate(paper) == light) is same, theme
    page.evaluate("localStorage.setItem('theme', 'dark')")
    for name, address in addresses(stack, nights, page).items():
        page.goto(address)
        assert page.evaluate(paper) != light, name


def test_from_the_board_to_a_series_to_a_run_to_two_of_them(page, stack, nights):
    page.goto(f"{stack['url']}/nightgate/")
    expect(page.get_by_role("heading", level=1)).to_contain_text("1 objective is breached")
    shot(page, "board")
    page.get_by_role("link", name="P95 latency").first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("P95 latency")
    shot(page, "series")
    before, after = page.get_by_label("before").last, page.get_by_label("after").first
    before.check()
    after.check()
    page.get_by_role("button", name="Compare").click()
    expect(page.get_by_role("heading", name="Hybrid ANN on cpu, hybrid:")).to_contain_text(
        f"before is {nights[0]}, after is {nights[-1]}"
    )
    page.get_by_role("link", name=nights[-1]).first.click()
    expect(page.get_by_text("Run it again")).to_be_visible()
    page.get_by_role("link", name="Its variants compared").click()
    expect(page.get_by_role("heading", name="Hybrid ANN on cpu").first).to_contain_text("of " + nights[-1])
    page.get_by_role("link", name="NIGHTGATE").click()
    expect(page.get_by_role("heading", name="Nights", exact=True)).to_be_visible()


def test_what_the_form_overrides_is_listed_as_ad_hoc(page, stack, nights):
    page.goto(f"{stack['url']}/dags/{DAG_ID}")
    page.get_by_role("button", name="Trigger").first.click()
    form = page.get_by_role("dialog")
    expect(form.get_by_role("combobox", name="Scale")).to_be_visible()
    expect(form.get_by_text("Which benchmarks to run.")).to_be_visible()
    expect(form.get_by_text("A device this host lacks is skipped")).to_be_visible()
    rows = form.locator('input[name="element_hybrid_ann.rows"]')
    expect(rows).not_to_be_visible()
    shot(page, "form")
    form.get_by_role("button", name="hybrid_ann").click()
    expect(rows).to_be_visible()
    rows.fill("5000")
    form.get_by_role("button", name="Trigger").click()
    board = f"{stack['url']}/nightgate/"
    for _ in range(60):
        page.goto(board)
        if page.get_by_text("Overridden: hybrid_ann.rows 5000").count():
            break
        page.wait_for_timeout(1000)
    row = page.get_by_role("row").filter(has_text="hybrid_ann.rows 5000")
    expect(row).to_have_count(1)
    expect(page.get_by_role("heading", level=1)).to_contain_text("1 objective is breached")
    expect(page.get_by_role("heading", name="Ad-hoc runs")).to_be_visible()


def test_who_is_not_logged_in_logs_in_and_comes_back(browser, home, stack, nights):
    with browser.new_context(viewport=DESK) as context:
        page = context.new_page()
        page.goto(f"{stack['url']}/nightgate/runs/{nights[-1]}")
        log_in(page, home, airflow.VIEWER)
        page.wait_for_url(re.compile(f"/nightgate/runs/{re.escape(nights[-1])}"), timeout=SECONDS)
        expect(page.get_by_role("heading", level=1)).to_contain_text("breached")
        refused = page.request.post(f"{stack['url']}/api/v2/dags/{DAG_ID}/dagRuns", data={"logical_date": None})
        assert refused.status == 403, "who may look may not start"
    with browser.new_context() as nobody:
        assert nobody.request.get(f"{stack['url']}/nightgate/", max_redirects=0).status == 401


@pytest.mark.parametrize("name", PAGES)
def test_on_a_phone_nothing_is_off_the_screen(page, stack, nights, name):
    page.set_viewport_size(PHONE)
    page.goto(addresses(stack, nights, page)[name])
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    shot(page, f"phone-{PAGES.index(name)}")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_axe_finds_nothing_serious(page, stack, nights, scheme, size):
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size(size)
    for name, address in addresses(stack, nights, page).items():
        page.goto(address)
        # the pages forbid every script, and this one is the test's
        found = Axe().run(page).response["violations"]
        serious = [
            f"{one['id']}: {[node['target'] for node in one['nodes']][:5]}"
            for one in found
            if one["impact"] in ("serious", "critical")
        ]
        assert not serious, f"{name}, {scheme}"


@pytest.mark.parametrize("name", PAGES)
def test_the_keyboard_reaches_every_link_and_sees_where_it_is(page, stack, nights, name):
    page.goto(addresses(stack, nights, page)[name])
    links = page.locator("main a:visible, main button:visible, main summary:visible").count()
    reached = set()
    for _ in range(links + 60):
        page.keyboard.press("Tab")
        at = page.evaluate(
            "(() => { const e = document.activeElement; return e && e !== document.body ? [...document.querySelectorAll('*')].indexOf(e) : -1 })()"
        )
        reached.add(at)
    focusable = page.evaluate(
        "[...document.querySelectorAll('main a[href], main button, main summary')].filter(e => e.checkVisibility()).map(e => [...document.querySelectorAll('*')].indexOf(e))"
    )
    assert set(focusable) <= reached


@pytest.mark.parametrize("name", PAGES)
def test_on_paper_it_is_white_and_as_wide_as_the_paper(page, stack, nights, name, tmp_path):
    page.goto(addresses(stack, nights, page)[name])
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    page.set_viewport_size({"width": 720, "height": 1000})  # A4 between its margins
    assert page.evaluate("document.documentElement.scrollWidth") <= 720
    assert page.pdf(format="A4").startswith(b"%PDF")


SHIFTED = """() => new Promise(done => {
  let sum = 0
  new PerformanceObserver(list => list.getEntries().forEach(entry => sum += entry.value)).observe({type: "layout-shift", buffered: true})
  setTimeout(() => done(sum), 500)
})"""
"""How far what was on the screen moved while the page became complete (the Layout Instability API's sum)."""


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_nothing_moves_while_a_page_loads(page, stack, nights, size):
    page.set_viewport_size(size)
    moved = {}
    for name, address in addresses(stack, nights, page).items():
        page.goto(address)
        moved[name] = page.evaluate(SHIFTED)
    assert moved == dict.fromkeys(moved, 0)


def test_nothing_is_asked_of_another_host(page, stack, nights):
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    for address in addresses(stack, nights, page).values():
        page.goto(address)
    assert {url for url in asked if not url.startswith((stack["url"], "data:"))} == set()
