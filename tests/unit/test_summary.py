"""The verdict as Markdown for a chat."""

from __future__ import annotations

from support.fake_board import HOST, night

from nightgate.publish.summary import LONGEST, render_summary
from nightgate.record import Summary


def summary(state, results):
    return Summary(
        run_id="night-8", dag_id="nightly_benchmarks", suite="nightly", scale="full", state=state, started_at="2026-11-08T02:00:00Z",
        finished_at="2026-11-08T02:14:00Z", host=HOST, results=results,
    )  # fmt: skip


def test_the_headline_what_is_not_met_and_a_table():
    text = render_summary(summary("breach", [*night(8, "breach", 0.0222).results, *night(8, p95=0.012).results]))
    assert text.splitlines() == [
        "### 🔴 1 objective is breached", "",
        "nightly, full, 8 Nov 2026, 02:00 UTC, host abc, run `night-8`", "",
        "- Hybrid ANN, hybrid on cpu: P95 latency is 22.2 ms (95 % interval 20.0 – 24.4 ms), the limit < 20 ms, 11 % past it.", "",
        "| | objective | value | limit | headroom |", "|---|---|---:|---:|---:|",
        "| 🔴 | P95 latency of hybrid on cpu | 22.2 ms | < 20 ms | −11 % |",
        "| 🟢 | P95 latency of hybrid on cpu | 12.0 ms | < 20 ms | 40 % |",
    ]  # fmt: skip


def test_it_fits_a_chat_message_however_much_there_is():
    many = [record for _ in range(60) for record in night(8, "breach", 0.0222).results]
    text = render_summary(summary("breach", many))
    assert len(text) <= LONGEST + 10
    assert text.endswith("\n- …\n")
    assert "| objective |" not in text
