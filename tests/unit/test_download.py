"""Downloads from a real server on the loopback that cuts, stalls, forgets ranges and lies."""

import hashlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from nightgate.errors import ArtifactError, InputError, ServiceUnavailable
from nightgate.transcription.models import download
from nightgate.transcription.models.download import fetch

CONTENT = b"".join(hashlib.sha256(b"%d" % i).digest() for i in range(32_000))  # 1,024,000 bytes
SHA1 = hashlib.sha1(CONTENT).hexdigest()


class Files(ThreadingHTTPServer):
    """Serves ``content``. ``cuts`` are the bytes after which the next answers end; ``statuses`` are sent before it works."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content, self.ranges, self.cuts, self.statuses = CONTENT, True, [], []
        self.most = None  # bytes in one answer to a range
        self.stall = None  # an event that an answer waits for instead of being cut
        self.asked = []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/ggml-x.bin"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server, asked = self.server, self.headers.get("Range")
        server.asked.append(asked)
        if server.statuses:
            self.send_error(server.statuses.pop(0))
            return
        start, whole = 0, len(server.content)
        if server.ranges and asked:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
        if start >= whole > 0 and asked:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{whole}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = server.content[start:]
        if server.ranges and asked:
            body = body[: server.most]
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{start + len(body) - 1}/{whole}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: server.cuts[0]] if server.cuts else body)
        if server.cuts:
            server.cuts.pop(0)
            if server.stall:
                server.stall.wait(30)
        self.close_connection = True

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    made = Files()
    thread = threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


@pytest.fixture
def target(tmp_path):
    return tmp_path / "ggml-x.bin"


@pytest.fixture
def part(tmp_path):
    return tmp_path / "downloads" / "ggml-x.bin.part"


def get(server, target, part, sha1=SHA1):
    fetch(server.url, sha1, target, part=part, pause=0.01)


def test_a_whole_download(server, target, part):
    get(server, target, part)
    assert target.read_bytes() == CONTENT
    assert not part.exists()
    assert server.asked == [None]


def test_a_cut_connection_is_taken_up_where_it_ended(server, target, part):
    server.cuts = [300_000, 300_000]
    get(server, target, part)
    assert target.read_bytes() == CONTENT
    starts = [int(asked.removeprefix("bytes=").removesuffix("-")) for asked in server.asked[1:]]
    assert 0 < starts[0] <= 300_000 < starts[1] <= 600_000


def test_more_cuts_than_tries_are_borne_while_bytes_come(server, target, part):
    server.cuts = [100_000] * 8
    get(server, target, part)
    assert target.read_bytes() == CONTENT


def test_a_server_that_answers_a_range_in_pieces(server, target, part):
    server.cuts, server.most = [100_000], 400_000
    get(server, target, part)
    assert target.read_bytes() == CONTENT


def test_a_server_without_ranges_starts_over(server, target, part):
    part.parent.mkdir()
    part.write_bytes(b"something older")
    server.ranges = False
    get(server, target, part)
    assert target.read_bytes() == CONTENT
    assert server.asked == ["bytes=15-"]


def test_a_part_that_is_already_whole_is_not_fetched_again(server, target, part):
    part.parent.mkdir()
    part.write_bytes(CONTENT)
    get(server, target, part)
    assert target.read_bytes() == CONTENT
    assert server.asked == [f"bytes={len(CONTENT)}-"]


def test_a_part_longer_than_the_file_is_thrown_away(server, target, part):
    part.parent.mkdir()
    part.write_bytes(CONTENT + b"more")
    get(server, target, part)
    assert target.read_bytes() == CONTENT
    assert server.asked[-1] is None


def test_a_range_that_starts_elsewhere_is_not_appended(server, target, part, monkeypatch):
    part.parent.mkdir()
    part.write_bytes(CONTENT[:1000])
    whole = CONTENT
    answered = iter([(500, len(whole)), (None, None)])
    monkeypatch.setattr(download, "_range", lambda _: next(answered))
    get(server, target, part)
    assert target.read_bytes() == CONTENT
    assert server.asked == ["bytes=1000-", None]


def test_another_file_never_gets_the_name(server, target, part):
    server.content = b"<html>please log in</html>"
    found = hashlib.sha1(server.content).hexdigest()
    with pytest.raises(ArtifactError, match=f"found 26 bytes with SHA-1 {found}, expected {SHA1}"):
        get(server, target, part)
    assert not target.exists()
    assert not part.exists()


@pytest.mark.parametrize("status", [404, 403])
def test_a_file_that_is_not_there_is_asked_for_once(server, target, part, status):
    server.statuses = [status] * 9
    with pytest.raises(ServiceUnavailable, match=rf"answered {status} .*NIGHTGATE_MODELS_URL"):
        get(server, target, part)
    assert len(server.asked) == 1


@pytest.mark.parametrize("status", [503, 429])
def test_a_busy_server_is_asked_again(server, target, part, status):
    server.statuses = [status, status]
    get(server, target, part)
    assert target.read_bytes() == CONTENT
    assert len(server.asked) == 3


def test_a_server_that_stays_busy_is_given_up(server, target, part):
    server.statuses = [503] * 9
    with pytest.raises(ServiceUnavailable, match="503"):
        get(server, target, part)
    assert len(server.asked) == 4


def test_no_network_says_so_and_what_to_do(server, target, part):
    url = server.url
    server.server_close()
    with pytest.raises(ServiceUnavailable) as caught:
        fetch(url, SHA1, target, part=part, tries=2, pause=0.01)
    assert "the network failed (Connection refused)" in str(caught.value)
    assert all(
        words in caught.value.next_step for words in ("the path of a ggml file", "tiny.en", "NIGHTGATE_MODELS_URL")
    )


@pytest.mark.parametrize("url", ["models/ggml-x.bin", "ftp://127.0.0.1/ggml-x.bin", "http:///ggml-x.bin"])
def test_an_address_that_is_none_is_the_users_mistake(url, target, part):
    with pytest.raises(InputError, match="no web address.*NIGHTGATE_MODELS_URL"):
        fetch(url, SHA1, target, part=part)


def test_a_full_disk_is_seen_before_a_byte_is_written(server, target, part, monkeypatch):
    usage = download.shutil.disk_usage("/")
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: usage._replace(free=1_000_000))
    with pytest.raises(InputError, match="no disk space for ggml-x.bin"):
        get(server, target, part)
    assert not part.exists()
    part.write_bytes(CONTENT[:100_000])  # the rest would fit
    get(server, target, part)
    assert target.read_bytes() == CONTENT


def test_an_exception_in_the_middle_leaves_the_part(server, target, part, monkeypatch):
    def interrupt(*_):
        def advance(_):
            if part.stat().st_size > 200_000:
                raise KeyboardInterrupt

        return advance

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(download, "_log_lines", interrupt)
        get(server, target, part)
    kept = part.stat().st_size
    assert kept > 200_000
    assert not target.exists()
    get(server, target, part)
    assert server.asked == [None, f"bytes={kept}-"]
    assert target.read_bytes() == CONTENT


def test_a_killed_process_leaves_the_part_to_the_next(server, target, part):
    server.cuts, server.stall = [500_000], threading.Event()
    program = (
        "import sys; from pathlib import Path; from nightgate.transcription.models.download import fetch\n"
        "fetch(sys.argv[1], sys.argv[2], Path(sys.argv[3]), part=Path(sys.argv[4]))"
    )
    child = subprocess.Popen([sys.executable, "-c", program, server.url, SHA1, str(target), str(part)], env=os.environ)
    deadline = time.monotonic() + 30
    while (not part.exists() or part.stat().st_size < 400_000) and time.monotonic() < deadline:
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    server.stall.set()
    kept = part.stat().st_size
    assert 400_000 <= kept <= 500_000
    assert not target.exists()
    server.stall = None
    get(server, target, part)
    assert server.asked == [None, f"bytes={kept}-"]
    assert target.read_bytes() == CONTENT


def test_a_log_line_says_how_far_and_how_long(server, target, part, monkeypatch, caplog):
    monkeypatch.setattr(download, "_REPORT_EVERY", 0)
    part.parent.mkdir()
    part.write_bytes(CONTENT[:512_000])
    with caplog.at_level(logging.INFO, logger="nightgate"):
        get(server, target, part)
    lines = [record.message for record in caplog.records]
    assert lines[-1] == "ggml-x.bin: 100 %, about 0 s left"
    assert all(50 <= int(line.split()[1]) <= 100 for line in lines)


def test_a_terminal_gets_a_bar(server, target, part, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    get(server, target, part)
    shown = capsys.readouterr()
    assert "ggml-x.bin" in shown.err
    assert shown.out == ""
