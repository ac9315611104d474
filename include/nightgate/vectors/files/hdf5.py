"""``.hdf5`` (ann-benchmarks): the data sets ``train`` (the base) and ``test`` (queries), the attribute ``distance``."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from nightgate.errors import ChildError, InputError
from nightgate.measure.child import run_child
from nightgate.vectors.files.rows import Rows, breaks_off, check, reason

if TYPE_CHECKING:
    import h5py
    import numpy as np

SUFFIXES = (".hdf5", ".h5")
_METRICS = {"angular": "cosine", "euclidean": "l2", "dot": "ip"}
_LARGEST_CHUNK = 2**28
_PATIENCE = 20  # seconds


def open_file(path: Path, only: int | None = None) -> Rows:
    """The data set ``train`` of ``path``. One in pieces, of which the later ones were not written, will do where no more
    than the first ``only`` rows are wanted and these are whole.

    Raises:
        InputError: this is no HDF5 file or a damaged one, it has no ``train``, or a part is missing from it.
    """
    with _closed_on_error(path) as file:
        return _opened(path, file, "train", only)


def open_queries(path: Path) -> Rows | None:
    """The data set ``test`` of ``path``; None when it has none.

    Raises:
        InputError: this is no HDF5 file or a damaged one, or a part is missing from it.
    """
    with _closed_on_error(path) as file:
        if "test" in file:
            return _opened(path, file, "test", None)
        file.close()
        return None


@contextmanager
def _closed_on_error(path: Path) -> Iterator[h5py.File]:
    """The file, which stays open as long as its rows are read."""
    import h5py

    with _understood(path):
        file = h5py.File(path, "r")
        try:
            yield file
        except Exception:
            file.close()
            raise


def _opened(path: Path, file: h5py.File, part: str, only: int | None) -> Rows:
    data = _checked(path, file, part)
    return _Opened(path, file, data, _whole_rows(path, data, only))


def _checked(path: Path, file: h5py.File, part: str) -> h5py.Dataset:
    import h5py

    dataset = file.get(part)
    if not isinstance(dataset, h5py.Dataset):
        raise InputError(
            f"{path} has no data set {part!r}, only {', '.join(map(repr, file)) or 'nothing at all'}",
            "name a file in the layout of ann-benchmarks, with `train` and `test`",
        )
    check(path, dataset.shape or (), dataset.dtype)
    return dataset


def metric(path: Path) -> str | None:
    """By which metric the file says that its vectors are compared, by our name if it has one; None if it says nothing.

    A process of its own reads the attribute: on a damaged heap of strings the HDF5 library never comes back (issue 1707
    of HDFGroup/hdf5), and nothing in this process could end that.

    Raises:
        InputError: the attribute cannot be read.
    """
    try:
        distance = run_child(read_distance, path, threads=1, timeout=_PATIENCE).value
    except ChildError as error:
        raise InputError(
            f"{path} cannot be read as HDF5: reading its attribute 'distance' crashed or found no end",
            "fetch or write the file again, or set the metric, which makes the attribute needless",
        ) from error
    return _METRICS.get(distance, distance) or None


def read_distance(path: Path) -> str:
    """The child's side of `metric`: the attribute as text, empty when there is none."""
    import h5py

    with _understood(path), h5py.File(path, "r") as file:
        distance = file.attrs.get("distance", "")
        return distance.decode() if isinstance(distance, bytes) else str(distance)


class _Opened:
    def __init__(self, path: Path, file: h5py.File, data: h5py.Dataset, rows: int) -> None:
        self._path, self._file, self._data = path, file, data
        self.shape: tuple[int, ...] = (rows, data.shape[1])
        self.dtype: np.dtype = data.dtype

    def __getitem__(self, rows: slice) -> np.ndarray:
        start, stop, _ = rows.indices(self.shape[0])
        with _understood(self._path, f" in rows {start} to {stop - 1} (the first is 0)"):
            block: np.ndarray = self._data[rows]
            return block


def _whole_rows(path: Path, data: h5py.Dataset, only: int | None) -> int:
    """How many rows can be read: all, or as many as lie before the first piece that is missing."""
    if _whole(data, path.stat().st_size):
        return len(data)
    whole = 0
    if only is not None and data.chunks and not data.is_virtual and _chunk_bytes(data) <= _LARGEST_CHUNK:
        height, width = data.chunks
        while whole < len(data) and all(
            data.id.get_chunk_info_by_coord((whole, column)).byte_offset is not None
            for column in range(0, data.shape[1], width)
        ):
            whole = min(whole + height, len(data))
    if only is None or whole < only:
        name = data.name.removeprefix("/")
        claim = f"{path} does not hold all {len(data)} rows that its data set {name!r} claims"
        raise breaks_off(claim, whole, only)
    return whole


def _whole(data: h5py.Dataset, size: int) -> bool:
    """Whether every value is in the file, by its size and by what it lists; HDF5 would read what is missing as 0."""
    if data.is_virtual or data.external:
        return False
    if data.chunks is None:
        return bool(data.id.get_storage_size() == data.nbytes <= size)
    needed = math.prod(-(-length // chunk) for length, chunk in zip(data.shape, data.chunks, strict=True))
    return _chunk_bytes(data) <= _LARGEST_CHUNK and needed <= size and bool(data.id.get_num_chunks() == needed)


def _chunk_bytes(data: h5py.Dataset) -> int:
    return int(math.prod(data.chunks) * data.dtype.itemsize)


@contextmanager
def _understood(path: Path, where: str = "") -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # h5py passes the library's complaints on as almost any exception
        raise InputError(
            f"{path} cannot be read as HDF5{where} ({reason(error)})", "fetch or write the file again"
        ) from error
