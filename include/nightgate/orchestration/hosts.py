"""Which hosts of a cluster measure a suite, and what their queues and pools are called.

A suite that names hosts has a nightly for each, whose work goes to that host alone: every one measures at the same time as the
others, and none two things at once, because its pool counts for it alone.

``python -m nightgate.orchestration.hosts`` prints the pools of the cluster, for ``airflow pools import``.
"""

from __future__ import annotations

import json
import os
from typing import Any

from nightgate import paths
from nightgate.errors import InputError
from nightgate.suite import Suite, check_host

VARIABLE = "NIGHTGATE_HOSTS"
"""The hosts of the cluster by the names that they serve, separated by commas."""


def known() -> tuple[str, ...]:
    """The hosts that ``NIGHTGATE_HOSTS`` names.

    Raises:
        InputError: one of them cannot be a name.
    """
    names = [name.strip() for name in os.environ.get(VARIABLE, "").split(",")]
    return tuple(dict.fromkeys(check_host(name, VARIABLE) for name in names if name))


def hosts_of(suite: Suite) -> tuple[str, ...]:
    """The hosts that measure ``suite``, each for itself; none where any host takes any part of it.

    Raises:
        InputError: it names one that the cluster does not have.
    """
    there = known()
    if suite.hosts == "any":
        return ()
    if suite.hosts == "all":
        if not there:
            raise InputError(
                f"the suite {suite.name} is for all hosts, and {VARIABLE} names none", f"set {VARIABLE}=a,b"
            )
        return there
    for name in suite.hosts:
        if name not in there:
            raise InputError(
                f"the suite {suite.name} names the host {name!r}, and {VARIABLE} says {','.join(there) or 'nothing'}",
                "add it there, on every machine of the cluster",
            )
    return suite.hosts


def queue(device: str, host: str | None) -> str:
    """The queue of a device's work, and its pool: of any host, or of one."""
    return f"{device}.{host}" if host else device


def pools() -> dict[str, Any]:
    """Airflow's pools: those of any host, and those of each by itself."""
    shared: dict[str, Any] = json.loads(paths.pools_file().read_text())
    return shared | {queue(name, host): pool for host in known() for name, pool in shared.items()}


if __name__ == "__main__":
    print(json.dumps(pools(), indent=2))
