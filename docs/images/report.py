"""Make the picture of the README: a reference run as the report shows it today, taken by Chromium. `make picture`."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from nightgate.publish.report import render_report
from nightgate.record import STORED, Summary

HERE = Path(__file__).parent
RUN = HERE.parents[1] / "benchmarks/reference/full-20261122T142323.874Z"
PIXELS = "1100,1125"


def main() -> None:
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if not browser:
        sys.exit("no Chromium is on the PATH. Next step: install it (Debian: apt-get install chromium)")
    summary = Summary.model_validate_json((RUN / "summary.json").read_bytes(), context=STORED)
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder, "report.html")
        page.write_text(render_report(summary, RUN))
        command = [
            browser, "--headless", "--no-sandbox", "--hide-scrollbars", f"--user-data-dir={folder}/profile",
            f"--window-size={PIXELS}", f"--screenshot={HERE / 'report.png'}", page.as_uri(),
        ]  # fmt: skip
        subprocess.run(command, check=True, timeout=120, capture_output=True)


if __name__ == "__main__":
    main()
