"""The same numbers as statsd gauges, sent by the task that measured them.

Tags stand in the name as InfluxDB writes them (``whisper_xrt,device=cpu:0.12|g``), which statsd_exporter turns into
labels. UDP: nobody needs to listen, and a metrics server that is gone never costs a night.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping, Sequence

from nightgate.publish.prometheus import over_records, samples
from nightgate.record import Record

log = logging.getLogger(__name__)

_DEFAULT = ("127.0.0.1", "8125")
_UNSAFE = re.compile(r"[^A-Za-z0-9_./+-]")  # what would end a tag, a name or the packet


def send(records: Sequence[Record]) -> int:
    """Send the gauges of ``records``; returns how many. Logs a warning, and raises nothing, when it cannot."""
    lines = list(over_records(records))
    lines += [gauge for record in records if record.status == "measured" for gauge in samples(record)]
    host, port = address()
    try:
        import statsd

        if not 0 < int(port) < 65536:
            raise ValueError("there is no such port")
        client = statsd.StatsClient(host, int(port))
    except (ImportError, OSError, ValueError) as error:
        log.warning("no metrics were sent to statsd at %s:%s: %s", host, port, error)
        return 0
    try:
        with client.pipeline() as pipe:
            for line in lines:
                pipe.gauge(_tagged(line.name, line.labels), line.value)
    finally:
        client.close()
    return len(lines)


def address() -> tuple[str, str]:
    """Host and port: ``STATSD_HOST``/``STATSD_PORT``, else where Airflow sends its own, else 127.0.0.1:8125."""
    env = os.environ
    host = env.get("STATSD_HOST") or env.get("AIRFLOW__METRICS__STATSD_HOST") or _DEFAULT[0]
    port = env.get("STATSD_PORT") or env.get("AIRFLOW__METRICS__STATSD_PORT") or _DEFAULT[1]
    return host, port


def _tagged(name: str, tags: Mapping[str, str]) -> str:
    return ",".join([name, *(f"{key}={_UNSAFE.sub('_', value)}" for key, value in tags.items())])
