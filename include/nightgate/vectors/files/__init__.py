"""The user's own vectors, read where they lie: one small file per format, and one way in."""

from __future__ import annotations

from pathlib import Path

from nightgate.errors import InputError
from nightgate.vectors.files import delimited, hdf5, npy, parquet, xbin, xvecs
from nightgate.vectors.files.rows import Rows

_OPENERS = (
    dict.fromkeys(hdf5.SUFFIXES, hdf5.open_file)
    | dict.fromkeys(xvecs.KINDS, xvecs.open_file)
    | dict.fromkeys(xbin.KINDS, xbin.open_file)
    | dict.fromkeys(delimited.SUFFIXES, delimited.open_file)
    | dict.fromkeys(parquet.SUFFIXES, parquet.open_file)
    | {".npy": npy.open_file}
)


def open_vectors(path: Path, only: int | None = None) -> Rows:
    """The vectors of ``path`` by its suffix (of an HDF5 file its ``train``), checked by header and size, not read.

    Args:
        only: no more than the first so many rows are wanted. A file that breaks off behind them, such as a download
            that did not end, will then do: the rows are those that are whole.

    Raises:
        InputError: it is not there, its suffix is not known, or it is not what the suffix says.
    """
    try:
        if path.is_dir():
            raise InputError(f"{path} is a folder", "name a file in it")
        if not path.is_file():
            raise InputError(f"there is no file {path}", "check the path")
        opener = _OPENERS.get(path.suffix.lower())
        if opener is None:
            raise InputError(f"{path} has a suffix that is not known", f"name one of {', '.join(sorted(_OPENERS))}")
        return opener(path, only)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror})", "check the path and who may read it") from error


def open_queries(path: Path) -> Rows | None:
    """The queries that an HDF5 file brings along, its ``test``; None for every other file and where it has none."""
    return hdf5.open_queries(path) if path.suffix.lower() in hdf5.SUFFIXES else None


def metric_of(path: Path) -> str | None:
    """The metric that the file itself names, known or not; only an HDF5 file does."""
    return hdf5.metric(path) if path.suffix.lower() in hdf5.SUFFIXES else None
