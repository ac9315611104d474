"""Make the pictures of the README that a reference run shows: its report, and what the terminal says of it. `make picture`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

from nightgate.publish.report import render_report
from nightgate.record import STORED, Summary

HERE = Path(__file__).parent
RUN = HERE.parents[1] / "benchmarks/reference/full-20261122T142323.874Z"
COLUMNS = 110
_PAGE = """<!doctype html><meta charset="utf-8"><style>
body {{ margin: 0; background: #0c0c0c; color: #d9d9d9; padding: 18px 22px; }}
pre {{ font: 14px/1.35 "DejaVu Sans Mono", "Liberation Mono", monospace; margin: 0; }}
</style>{code}"""


def main() -> None:
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if not browser:
        sys.exit("no Chromium is on the PATH. Next step: install it (Debian: apt-get install chromium)")
    summary = Summary.model_validate_json((RUN / "summary.json").read_bytes(), context=STORED)
    _take(browser, "report", render_report(summary, RUN), (1100, 1125))
    said = _said()
    _take(browser, "terminal", _as_page(said), (1000, 36 + 19 * said.count("\n")))


def _said() -> str:
    """What `nightgate results show` says of the run in a terminal."""
    command = [sys.executable, "-m", "nightgate.cli", "results", "show", RUN.name]
    env = os.environ | {"NIGHTGATE_RUNS": str(RUN.parent), "FORCE_COLOR": "1", "COLUMNS": str(COLUMNS)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=True)
    return f"$ nightgate results show {RUN.name}\n{done.stdout}"


def _as_page(said: str) -> str:
    console = Console(record=True, width=COLUMNS + 10, file=StringIO())
    console.print(Text.from_ansi(said))
    return console.export_html(
        theme=MONOKAI, inline_styles=True, code_format=_PAGE.replace("{code}", "<pre>{code}</pre>")
    )


def _take(browser: str, name: str, page: str, pixels: tuple[int, int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "page.html")
        file.write_text(page)
        command = [
            browser, "--headless", "--no-sandbox", "--hide-scrollbars", f"--user-data-dir={folder}/profile",
            f"--window-size={pixels[0]},{pixels[1]}", f"--screenshot={HERE / f'{name}.png'}", file.as_uri(),
        ]  # fmt: skip
        subprocess.run(command, check=True, timeout=120, capture_output=True)


if __name__ == "__main__":
    main()
