"""Files that appear whole or not at all, and the hash of what is in one."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def whole(path: Path, *, sync: bool = False, mode: int = 0o666) -> Iterator[BinaryIO]:
    """A file to write into, which takes the name ``path`` when the block ends without an error.

    What had the name before is replaced; after an error it stays, and nothing of the new one is left.

    Args:
        sync: the content, and then the name, are on the disk before it goes on, so that both survive a power cut.
        mode: the permissions, of which the umask takes away.
    """
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with open(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, mode), "wb") as file:
            yield file
            if sync:
                file.flush()
                os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    if sync:
        sync_file(path.parent)


def write_text(path: Path, text: str, *, sync: bool = False, mode: int = 0o666) -> None:
    """Write ``text`` in UTF-8; see `whole`."""
    with whole(path, sync=sync, mode=mode) as file:
        file.write(text.encode())


def sha256_of(path: str | Path) -> str:
    """The SHA-256 of a file's content, hex. Raises OSError when it cannot be read."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_file(path: Path) -> None:
    """Wait until the content of a file, or the names in a folder, are on the disk."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)
