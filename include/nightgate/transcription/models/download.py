"""Fetch one large file over HTTP: resumed after an interruption, and named only when its checksum is right."""

from __future__ import annotations

import hashlib
import logging
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tenacity import RetryCallState, Retrying, retry_if_exception_type

from nightgate.errors import ArtifactError, InputError, ServiceUnavailable
from nightgate.transcription.models.published import MIRROR_VARIABLE, PACKAGED

if TYPE_CHECKING:
    import requests

log = logging.getLogger(__name__)

_TIMEOUT = (10, 60)  # seconds to connect, and between two pieces of an answer
_CHUNK = 1 << 16  # what an interruption may lose
_REPORT_EVERY = 10  # seconds between two lines in a log
_PASSING = (429, 500, 502, 503, 504)
_NEXT_STEP = (
    f"give the path of a ggml file, use {PACKAGED}, which needs no network, or name a mirror in {MIRROR_VARIABLE}"
)

Advance = Callable[[int], None]


class _Interrupted(Exception):
    """The connection failed, or the server is busy: worth another try."""


def fetch(url: str, sha1: str, target: Path, *, part: Path, tries: int = 4, pause: float = 1) -> None:
    """Write what ``url`` holds to ``target``, which appears whole or not at all.

    Args:
        sha1: the checksum the file must have, hex.
        part: where the bytes gather; on the file system of ``target``, and written by one process at a time. It stays
            when the download is interrupted, and the next one goes on from it.
        tries: how many in a row may fail without a byte gained.
        pause: seconds before the second try; doubled before each further one.

    Raises:
        InputError: ``url`` is no web address, or the disk has no room.
        ServiceUnavailable: no network, no such file there, or the server keeps failing.
        ArtifactError: the file has another checksum; the part is removed.
    """
    part.parent.mkdir(parents=True, exist_ok=True)
    in_a_row = 0

    def once() -> None:
        nonlocal in_a_row
        before = _size(part)
        try:
            _receive(url, part)
        except _Interrupted:
            in_a_row = 1 if _size(part) > before else in_a_row + 1
            raise

    def say(state: RetryCallState) -> None:
        log.warning(
            "%s: %s; next try in %.0f s", url, state.outcome and state.outcome.exception(), state.upcoming_sleep
        )

    again = Retrying(
        retry=retry_if_exception_type(_Interrupted),
        stop=lambda _: in_a_row >= tries,
        wait=lambda _: pause * 2 ** (in_a_row - 1),
        before_sleep=say,
        reraise=True,
    )
    try:
        again(once)
    except _Interrupted as error:
        kept = f", {_size(part) / 1e6:,.1f} MB are kept for the next try" if _size(part) else ""
        raise ServiceUnavailable(f"{url} cannot be fetched: {error}{kept}", _NEXT_STEP) from error
    with open(part, "rb") as file:
        digest = hashlib.file_digest(file, "sha1").hexdigest()
    if digest != sha1:
        size = _size(part)
        part.unlink()
        raise ArtifactError(
            f"what came from {url} is not the published file: found {size:,} bytes with SHA-1 {digest}, expected {sha1}",
            f"try again, or {_NEXT_STEP}",
        )
    part.replace(target)


def _receive(url: str, part: Path) -> None:
    """One connection: append to ``part`` until the file is whole."""
    import requests
    from requests import exceptions

    have = _size(part)
    # a compressed answer would have neither the size nor the offsets of the file
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    try:
        with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as answer:
            if answer.status_code == 416 and _range(answer) == (None, have):
                return  # nothing is missing
            if answer.status_code == 416 or (answer.status_code == 206 and _range(answer)[0] != have):
                part.unlink()
                raise _Interrupted(f"the server has no bytes from {have:,} on, so the file is fetched from its start")
            if answer.status_code in _PASSING:
                raise _Interrupted(f"the server answered {answer.status_code} {answer.reason}")
            if answer.status_code not in (200, 206):
                raise ServiceUnavailable(f"{url} answered {answer.status_code} {answer.reason}", _NEXT_STEP)
            _save(answer, part, have if answer.status_code == 206 else 0)
    except (exceptions.MissingSchema, exceptions.InvalidSchema, exceptions.InvalidURL) as error:
        raise InputError(f"{url} is no web address ({error})", f"correct {MIRROR_VARIABLE}") from error
    except exceptions.RequestException as error:
        raise _Interrupted(f"the network failed ({_reason(error)})") from error
    except OSError as error:
        raise InputError(
            f"{part} cannot be written ({error.strerror})", "free some space, or move NIGHTGATE_HOME"
        ) from error


def _save(answer: requests.Response, part: Path, have: int) -> None:
    """Write the body behind the first ``have`` bytes of ``part``."""
    total = _whole_size(answer)
    free = shutil.disk_usage(part.parent).free
    if total and total - have > free:
        raise InputError(
            f"no disk space for {part.stem}: it lacks {(total - have) / 1e9:.2f} GB and {part.parent} has {free / 1e9:.2f} GB free",
            "free some space (`nightgate cache gc`), move NIGHTGATE_HOME, or use a smaller model",
        )
    with open(part, "ab" if have else "wb") as file, _progress(part.stem, have, total) as advance:
        for chunk in answer.iter_content(_CHUNK):
            file.write(chunk)
            advance(len(chunk))
    if total and _size(part) < total:
        raise _Interrupted(f"the answer ended after {_size(part):,} of {total:,} bytes")


@contextmanager
def _progress(name: str, have: int, total: int | None) -> Iterator[Advance]:
    """A bar in a terminal, else a line in the log now and then."""
    if not sys.stderr.isatty():
        yield _log_lines(name, have, total)
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn(name), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(file=sys.stderr)) as progress:
        bar = progress.add_task(name, total=total, completed=have)
        yield lambda count: progress.advance(bar, count)


def _log_lines(name: str, have: int, total: int | None) -> Advance:
    start = last = time.monotonic()
    came = 0

    def advance(count: int) -> None:
        nonlocal last, came
        came += count
        now = time.monotonic()
        if now - last < _REPORT_EVERY:
            return
        last = now
        if total is None:
            log.info("%s: %.1f MB", name, (have + came) / 1e6)
        else:
            left = (total - have - came) * (now - start) / came
            log.info("%s: %.0f %%, about %.0f s left", name, 100 * (have + came) / total, left)

    return advance


def _whole_size(answer: requests.Response) -> int | None:
    if answer.status_code == 206:
        return _range(answer)[1]
    length = answer.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() else None


def _range(answer: requests.Response) -> tuple[int | None, int | None]:
    """First byte and whole size from ``Content-Range``: "bytes 5-9/10" gives (5, 10), "bytes */10" gives (None, 10)."""
    span, _, total = answer.headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
    first = span.partition("-")[0]
    return int(first) if first.isdecimal() else None, int(total) if total.isdecimal() else None


def _reason(error: Exception) -> str:
    """The innermost words: requests wraps what the system said three times."""
    innermost: BaseException = error
    while inner := innermost.__cause__ or innermost.__context__:
        innermost = inner
    return getattr(innermost, "strerror", None) or str(innermost) or type(innermost).__name__


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0
