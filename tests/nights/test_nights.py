"""Real nights through Airflow, and the watch over them: a strategy that becomes slower is told with its cause, a slow host is not.

`make test-nights`: about half an hour alone on a host, and no part of the check of every change.
"""

from __future__ import annotations

import json
import math
from statistics import median, stdev

from nightgate.regression.course import LEAST

_BEFORE = LEAST + 2
_SLOWER = 0.10
_MOST = 7  # nights, until something is told


def test_what_becomes_slower_is_told_the_same_night_and_a_slow_host_is_not(nights):
    seen = []
    for _ in range(_BEFORE):
        found = nights.quiet_night()
        seen.append(found["summary"]["results"][0]["metrics"]["latency_p50_fast"]["value"])
        print(
            found["summary"]["run_id"],
            f"{1e6 * seen[-1]:.1f} µs",
            found["summary"]["results"][0]["facts"]["noise"]["disturbed"],
        )
    usual = median(seen)
    print(
        f"\n{_BEFORE} nights: P50 at full speed {1e6 * usual:.0f} µs, sd between nights {100 * stdev(map(math.log, seen)):.1f} %"
    )
    assert nights.posts == [] and nights.mails == []

    nights.versions.host.write_text(str(round(_SLOWER * usual * 1e9)))
    found = nights.quiet_night()
    print("a host slower for all by 10 %:\n" + found["said"])
    assert nights.posts == [] and nights.mails == [], "nobody is told of a slow host"
    nights.versions.host.unlink()

    told, count = _until_told(nights, "1.1", usual)
    print(f"one strategy slower by 10 %, told in night {count} of it:\n" + json.dumps(told, indent=1))
    print(nights.mails[-1].as_string())
    assert {one["kind"] for one in told["news"]} == {"regression"}
    assert told["news"][0]["causes"][0].startswith("nightgate-slow 1.0 → 1.1")
    before = len(nights.posts)

    nights.versions.install("1.2", 0)
    for _ in range(_MOST):
        nights.quiet_night()
        if len(nights.posts) > before:
            break
    print("and as before again:\n" + json.dumps([post[2] for post in nights.posts[before:]], indent=1))
    assert {one["kind"] for _, _, post in nights.posts[before:] for one in post["news"]} == {"recovery"}

    told, _ = _until_told(nights, "1.3", usual)
    assert {one["kind"] for one in told["news"]} == {"regression"}
    before, run_id = len(nights.posts), nights.last
    done = nights.home.nightgate("results", "accept", run_id, "--reason", "it finds more")
    assert done.returncode == 0, done.stderr
    for _ in range(2):
        found = nights.quiet_night()
    print(f"{run_id} was accepted:\n{found['said']}")
    assert len(nights.posts) == before == len(nights.mails), "what was accepted is told no more"


def _until_told(nights, version, usual):
    """Install a version that is slower by a tenth; what is told of it, and in which of its nights."""
    before = len(nights.posts)
    nights.versions.install(version, round(_SLOWER * usual * 1e9))
    for count in range(1, _MOST + 1):
        found = nights.quiet_night()
        print(found["said"])
        if len(nights.posts) > before:
            return nights.posts[-1][2], count
    raise AssertionError(f"nobody was told in {_MOST} nights")
