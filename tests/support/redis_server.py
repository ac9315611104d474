"""A real Redis, and the exporter that tells Prometheus about it."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.programs import free_port, program


class RedisServer:
    """A Redis on a free port of 127.0.0.1 that keeps nothing on disk."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.command = [program("redis-server"), "--bind", "127.0.0.1", "--port", str(self.port), "--save", "",
                        "--appendonly", "no", "--dir", str(folder), "--logfile", str(folder / "redis.log")]  # fmt: skip
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(self.command)
        _answers(self.port, "redis-server")

    def stop(self) -> None:
        """Gone at once, as in a crash: what it knew is lost."""
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None


@contextmanager
def exporter(redis: RedisServer) -> Iterator[str]:
    """The exporter as the Compose stack runs it; gives the address of its metrics."""
    port = free_port()
    command = [program("prometheus-redis-exporter"), f"-redis.addr={redis.url}", f"-web.listen-address=127.0.0.1:{port}",
               "-check-single-keys=db0=default,db0=cpu,db0=gpu"]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _answers(port, "prometheus-redis-exporter")
        yield f"http://127.0.0.1:{port}/metrics"
    finally:
        process.terminate()
        process.wait(10)


def _answers(port: int, name: str) -> None:
    end = time.monotonic() + 10
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except ConnectionRefusedError:
            time.sleep(0.02)
    pytest.fail(f"{name} did not answer within 10 s")
