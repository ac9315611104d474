import logging
import socket

import pytest
from support.specs import add

from nightgate.publish import statsd
from nightgate.record import Record


@pytest.fixture
def server(monkeypatch):
    """A real UDP socket on this host."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.settimeout(5)
        monkeypatch.setenv("STATSD_HOST", "127.0.0.1")
        monkeypatch.setenv("STATSD_PORT", str(listener.getsockname()[1]))
        yield listener


@pytest.fixture(autouse=True)
def no_settings(monkeypatch):
    for name in ("STATSD_HOST", "STATSD_PORT", "AIRFLOW__METRICS__STATSD_HOST", "AIRFLOW__METRICS__STATSD_PORT"):
        monkeypatch.delenv(name, raising=False)


def engine(variant="pywhispercpp", xrt=0.12, device="cpu", status="measured"):
    made = Record(
        benchmark="transcription", variant=variant, device=device, status=status, settings={"variants": [variant]}
    )
    add(made, "xrt", xrt, 5)
    return made


def received(listener, count):
    found = []
    while len(found) < count:
        found += listener.recv(65536).decode().splitlines()
    return found


def test_a_measurement_arrives_with_its_tags(server):
    query = Record(benchmark="hybrid_ann", variant="hybrid", device="cpu", status="measured")
    add(query, "latency_p95", 0.0012, 3000)
    add(query, "recall_at_100", 0.951, 1000)
    assert statsd.send([engine(), query]) == 4
    series = "suite=nightly,benchmark=hybrid_ann,variant=hybrid,device=cpu,host="
    assert sorted(received(server, 4)) == sorted([
        "whisper_xrt,device=cpu:0.12|g",
        "nightgate_xrt_ratio,suite=nightly,benchmark=transcription,variant=pywhispercpp,device=cpu,host=:0.12|g",
        f"nightgate_latency_seconds,{series},percentile=95:0.0012|g",
        f"nightgate_recall_ratio,{series},at=100:0.951|g",
    ])  # fmt: skip


def test_the_slowest_engine_counts(server):
    slow = engine("slow", 0.5).model_copy(update={"settings": {"variants": ["slow", "pywhispercpp"]}})
    statsd.send([engine(), slow])
    assert "whisper_xrt,device=cpu:0.5|g" in received(server, 3)


def test_what_was_not_measured_is_not_sent(server):
    assert statsd.send([engine(status="failed")]) == 0


def test_a_label_cannot_end_its_tag(server):
    statsd.send([engine("a,b:c|d e")])
    assert (
        "nightgate_xrt_ratio,suite=nightly,benchmark=transcription,variant=a_b_c_d_e,device=cpu,host=:0.12|g"
        in received(server, 2)
    )


def test_many_values_fit_into_packets(server):
    records = [engine(f"engine-{number}", 0.1) for number in range(50)]
    assert len(received(server, statsd.send(records))) == 51


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({}, ("127.0.0.1", "8125")),
        ({"AIRFLOW__METRICS__STATSD_HOST": "exporter", "AIRFLOW__METRICS__STATSD_PORT": "9125"}, ("exporter", "9125")),
        ({"STATSD_HOST": "mine", "AIRFLOW__METRICS__STATSD_HOST": "exporter", "STATSD_PORT": "1"}, ("mine", "1")),
    ],
)
def test_the_address(monkeypatch, env, expected):
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert statsd.address() == expected


@pytest.mark.parametrize("port", ["x", "99999999", "0"])
def test_a_port_that_is_none_costs_a_warning_only(monkeypatch, caplog, port):
    monkeypatch.setenv("STATSD_PORT", port)
    with caplog.at_level(logging.WARNING):
        assert statsd.send([engine()]) == 0
    assert f"127.0.0.1:{port}" in caplog.text


def test_a_host_without_an_address_costs_a_warning_only(monkeypatch, caplog):
    def unknown(*_):
        raise socket.gaierror("Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with caplog.at_level(logging.WARNING):
        assert statsd.send([engine()]) == 0
    assert "Name or service not known" in caplog.text


def test_nobody_listening_is_no_error(monkeypatch):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    monkeypatch.setenv("STATSD_PORT", str(port))
    assert statsd.send([engine()]) == 2
