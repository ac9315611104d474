"""Real nights through Airflow, and the watch over them: a strategy that becomes slower is told with its cause, a slow host is not.

`make test-watch`: about twenty minutes alone on a host, and no part of the check of every change.
"""

from __future__ import annotations

import json
import math
from statistics import median, stdev

from nightgate.regression.course import LEAST

_BEFORE = LEAST + 2
_SLOWER = 0.10


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

    nights.versions.install("1.1", round(_SLOWER * usual * 1e9))
    found = nights.quiet_night()
    print("one strategy slower by 10 %:\n" + found["said"])
    ((_, _, told),) = nights.posts
    print(json.dumps(told, indent=1))
    (mail,) = nights.mails
    print(mail.as_string())
    assert {one["kind"] for one in told["news"]} == {"regression"}
    assert told["news"][0]["causes"][0].startswith("nightgate-slow 1.0 → 1.1")

    nights.versions.install("1.2", 0)
    for _ in range(3):
        found = nights.quiet_night()
    print("and as before again:\n" + found["said"])
    print(json.dumps([post[2] for post in nights.posts[1:]], indent=1))
    assert [one["kind"] for _, _, post in nights.posts[1:] for one in post["news"]] == ["recovery"] * len(told["news"])
    assert len(nights.mails) == len(nights.posts)
