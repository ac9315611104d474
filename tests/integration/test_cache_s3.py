"""The shared store in object storage: a server that speaks S3, reached as a user reaches one, through s3fs."""

from __future__ import annotations

import socket
import subprocess
import sys
import time

import fsspec
import pytest
from support.programs import free_port

from nightgate.artifacts import Cache, Settings
from nightgate.errors import ServiceUnavailable

URL = "s3://nightgate/cache"


def write(folder):
    (folder / "deep").mkdir()
    (folder / "deep" / "a").write_bytes(b"x" * 9_000_000)  # more than one part of an upload
    (folder / "b").write_bytes(b"y")
    return {"rows": 3}


def never(folder):
    pytest.fail("it was built twice")


def home(tmp_path, name):
    return Cache(tmp_path / name, Settings(url=URL))


@pytest.fixture
def bucket(monkeypatch):
    """An empty bucket; ``.away()`` ends its server."""
    port = free_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "nothing",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    fsspec.filesystem("s3").clear_instance_cache()
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        end = time.monotonic() + 60
        while not _answers(port):
            assert server.poll() is None and time.monotonic() < end
            time.sleep(0.1)
        files = fsspec.filesystem("s3")
        files.makedirs("nightgate", exist_ok=True)
        files.away = lambda: (server.kill(), server.wait())
        yield files
    finally:
        server.kill()
        server.wait()
        fsspec.filesystem("s3").clear_instance_cache()


def _answers(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def found(bucket):
    bucket.invalidate_cache()
    return {path.rsplit("/", 1)[1]: path for path in bucket.find("nightgate/cache")}


def test_what_one_host_built_another_fetches(bucket, tmp_path):
    one, two = home(tmp_path, "one"), home(tmp_path, "two")
    one.check_servers()
    built = one.get("kind", {}, write)
    fetched = two.get("kind", {}, never)
    assert (fetched.facts, fetched.size, two.damaged()) == (built.facts, built.size, [])
    assert two.events.totals()["requests.fetched"] == 1
    assert set(found(bucket)) == {"manifest.json", "a", "b"}


def test_a_torn_object_is_found_and_replaced(bucket, tmp_path):
    home(tmp_path, "one").get("kind", {}, write)
    bucket.pipe_file(found(bucket)["a"], b"x" * 1000)
    two = home(tmp_path, "two")
    assert not two.get("kind", {}, write).hit
    totals = two.events.totals()
    assert (totals["requests.rebuilt"], totals["evictions.damaged"]) == (1, 1)
    assert len(found(bucket)) == 3, "the damaged files are gone"
    home(tmp_path, "three").get("kind", {}, never)


@pytest.mark.slow  # its client tries again for seconds each time
def test_a_store_that_goes_away_costs_a_build(bucket, tmp_path, caplog):
    home(tmp_path, "one").get("kind", {}, write)
    bucket.away()
    two = home(tmp_path, "two")
    with pytest.raises(ServiceUnavailable, match="the shared store of NIGHTGATE_CACHE_URL cannot be written"):
        two.check_servers()
    assert two.get("kind", {}, write).facts == {"rows": 3}
    assert "shared store could not be" in caplog.text
