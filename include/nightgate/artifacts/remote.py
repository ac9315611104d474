"""The shared store: finished artefacts in a folder or bucket that several hosts reach, through fsspec.

``<url>/<kind>/<hash>/<id>/…`` holds the files, ``<url>/<kind>/<hash>/manifest.json`` names the id and comes last. So
a reader sees whole artefacts only, and a writer never touches what another wrote. The byte limit is that of the local
cache: how long the store keeps things is the business of its own (a bucket's lifecycle rules, a volume's clean-up).
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nightgate.artifacts import store
from nightgate.errors import InputError, ServiceUnavailable

log = logging.getLogger(__name__)


@contextmanager
def _os_errors() -> Iterator[None]:
    """Drivers raise classes of their own (botocore's are no OSError): one kind of failure leaves this file."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise OSError(f"{type(error).__name__}: {error}") from error


class Remote:
    """Artefacts under one fsspec address.

    Raises:
        InputError: the address cannot be used, or its driver is not installed.
    """

    def __init__(self, url: str) -> None:
        import fsspec

        try:
            self.fs, self.base = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise InputError(
                f"NIGHTGATE_CACHE_URL cannot be used: {error}", "write file:///folder, or install what it names"
            ) from error

    def check(self) -> None:
        """Raises ServiceUnavailable when the store cannot be written."""
        probe = f"{self.base}/{uuid.uuid4().hex}{store.DRAFT}"
        try:
            with _os_errors():
                self.fs.makedirs(self.base, exist_ok=True)
                self.fs.pipe_file(probe, b"")
                self.fs.rm_file(probe)
        except OSError as error:
            raise ServiceUnavailable(
                f"the shared store of NIGHTGATE_CACHE_URL cannot be written: {error}",
                "make it reachable, or unset NIGHTGATE_CACHE_URL",
            ) from error

    @_os_errors()
    def manifest(self, name: str) -> dict[str, Any] | None:
        """The manifest of ``<kind>/<hash>``; None when the store has none. Raises OSError when it cannot be reached."""
        try:
            return store.loads(self.fs.cat_file(f"{self.base}/{name}/{store.MANIFEST}"))
        except FileNotFoundError:
            return None
        except (ValueError, KeyError):
            log.warning("the manifest of %s in the shared store is damaged", name)
            return None

    @_os_errors()
    def fetch(self, name: str, manifest: Mapping[str, Any], draft: Path) -> bool:
        """Copy an artefact into ``draft`` and check every byte. False when it is damaged or on its way out."""
        try:
            for file in manifest["files"]:
                (draft / file).parent.mkdir(parents=True, exist_ok=True)
                self.fs.get_file(f"{self.base}/{name}/{manifest['id']}/{file}", str(draft / file))
        except FileNotFoundError:
            return False
        return store.matches(draft, manifest, sync=True)

    @_os_errors()
    def upload(self, name: str, manifest: Mapping[str, Any], folder: Path) -> None:
        """Copy the files under an id of their own: nobody sees them yet."""
        for file in manifest["files"]:
            target = f"{self.base}/{name}/{manifest['id']}/{file}"
            self.fs.makedirs(target.rpartition("/")[0], exist_ok=True)
            self.fs.put_file(str(folder / file), target)

    @_os_errors()
    def point(self, name: str, manifest: Mapping[str, Any]) -> None:
        """Make an uploaded artefact the one that readers find, and remove the one before it."""
        before = self.manifest(name)
        if before and before.get("fence", 0) > manifest.get("fence", 0):
            self.drop(name, manifest)  # we stood still for so long that another was let publish after us
            return
        draft = f"{self.base}/{name}/{uuid.uuid4().hex}{store.DRAFT}"
        self.fs.pipe_file(draft, store.dumps(manifest))
        self.fs.mv(draft, f"{self.base}/{name}/{store.MANIFEST}")
        if before and before["id"] != manifest["id"]:
            self.drop(name, before)

    def drop(self, name: str, manifest: Mapping[str, Any]) -> None:
        """Remove the files of an upload, if any are there."""
        try:
            with _os_errors():
                self.fs.rm(f"{self.base}/{name}/{manifest['id']}", recursive=True)
        except FileNotFoundError:
            pass
        except OSError as error:
            log.warning("files of %s in the shared store could not be removed (%s)", name, error)
