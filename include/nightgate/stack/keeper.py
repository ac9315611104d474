"""Bring a cluster back that went down while its stack still runs."""

from __future__ import annotations

import logging
import threading
import time

from nightgate.errors import StackError
from nightgate.stack.postgres import Cluster

log = logging.getLogger(__name__)

_LOOK_EVERY = 0.2
_MOST_ENDS, _WITHIN = 5, 60.0  # a server that falls over so often has a reason that no start mends
_PATIENCE = 120.0  # a killed server's children may be busy, and hold its memory, for as long as an index build takes


class Keeper:
    """Starts ``cluster`` again whenever its server ends: after a crash, or because a benchmark wants to meet it cold.

    The thread lives until `stop`, because the server dies with the thread that started it.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep, name=f"keeper of {cluster.folder}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop the server for good."""
        self._over.set()
        self._cluster.stop()  # the thread may be waiting for it to start
        self._thread.join()
        self._cluster.stop()

    def _keep(self) -> None:
        ends: list[float] = []
        while not self._over.wait(_LOOK_EVERY):
            if self._cluster.alive:
                continue
            ends = [*(moment for moment in ends if time.monotonic() - moment < _WITHIN), time.monotonic()]
            if len(ends) > _MOST_ENDS or not self._start():
                log.error("PostgreSQL in %s stays down; its log is %s", self._cluster.data, self._cluster.log_file)
                self._over.wait()

    def _start(self) -> bool:
        log.info("PostgreSQL in %s ended; starting it again", self._cluster.data)
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            try:
                self._cluster.start()
                return True
            except StackError as error:
                log.info("%s", error)
            if self._over.wait(1):
                return True
        return False
