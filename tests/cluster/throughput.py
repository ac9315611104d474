"""How many nights an hour do one, two and four machines measure: `make cluster-throughput`, some ten minutes.

All of them are processes of this machine, so beyond as many as it has cores they share what they measure with: the numbers say what
the cluster adds or takes, and not how fast a night is.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from support.cluster import NAMES, started

_EACH = 3  # nights of every machine


def main() -> None:
    print("| machines | nights | seconds | nights an hour |")
    print("|---|---|---|---|")
    for count in (1, 2, 4):
        with tempfile.TemporaryDirectory() as folder, started(Path(folder), count) as cluster:
            for name in NAMES[:count]:  # what is built first is not what is asked
                cluster.trigger("first", f"each.{name}", scale="smoke", benchmarks=["hybrid_ann"], devices=["cpu"])
            for name in NAMES[:count]:
                cluster.ended("first", f"each.{name}")
            start = time.monotonic()
            for number in range(_EACH):
                for name in NAMES[:count]:
                    cluster.trigger(
                        f"n{number}", f"each.{name}", scale="smoke", benchmarks=["hybrid_ann"], devices=["cpu"]
                    )
            for number in range(_EACH):
                for name in NAMES[:count]:
                    state, tasks = cluster.ended(f"n{number}", f"each.{name}", seconds=900)
                    assert state == "success", tasks
            took = time.monotonic() - start
            nights = _EACH * count
            print(f"| {count} | {nights} | {took:.0f} | {3600 * nights / took:.0f} |", flush=True)


if __name__ == "__main__":
    main()
