"""``.fvecs`` and ``.bvecs`` (TEXMEX): one record per vector, its dimension as an int32 and then its values."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nightgate.errors import InputError
from nightgate.vectors.files.rows import MOST_DIMENSIONS, Rows, breaks_off, check

if TYPE_CHECKING:
    import numpy as np

KINDS = {".fvecs": "<f4", ".bvecs": "u1"}


def open_file(path: Path, only: int | None = None) -> Rows:
    """Map ``path``; the first record says how long all are. A file that ends within a record will do where no more than
    the first ``only`` are wanted and these are whole.

    Raises:
        InputError: this is no such file, it ends within a record, or a record has another dimension. A file whose
            length happens to fit is found ragged only where it is read, by the slice that meets the record.
    """
    import numpy as np

    with open(path, "rb") as file:
        dim = int.from_bytes(file.read(4), "little", signed=True)
    size = path.stat().st_size
    if size < 4 or not 1 <= dim <= MOST_DIMENSIONS:
        what = f"no {path.suffix} file: its first record claims {dim} dimensions"
        if size < 4:
            what = "empty: it holds no vector"
        raise InputError(f"{path} is {what}", "check that the name says what the file holds")
    record = np.dtype([("dim", "<i4"), ("values", KINDS[path.suffix.lower()], (dim,))])
    rows, rest = divmod(size, record.itemsize)
    if not rest or (only is not None and rows >= only):
        records = _Records(path, np.memmap(path, record, "r", shape=(rows,)))
        check(path, records.shape, records.dtype)
        return records
    if rows:  # a record of another length is the likelier reason, and then the one to name
        _Records(path, np.memmap(path, record, "r", shape=(rows,)))[0:rows]
    held = f"of which it holds {rest} bytes of {record.itemsize}"
    raise breaks_off(f"{path} ends within row {rows} (the first is 0), {held}", rows, only)


class _Records:
    def __init__(self, path: Path, records: np.memmap) -> None:
        self._path, self._records = path, records
        self.shape: tuple[int, ...] = records["values"].shape
        self.dtype: np.dtype = records["values"].dtype

    def __getitem__(self, rows: slice) -> np.ndarray:
        block = self._records[rows]
        ragged = (block["dim"] != self.shape[1]).nonzero()[0]
        if len(ragged):
            row = rows.indices(self.shape[0])[0] + int(ragged[0])
            claim = f"row {row} (the first is 0) claims {block['dim'][ragged[0]]} dimensions, row 0 has {self.shape[1]}"
            raise InputError(f"{self._path} is ragged: {claim}", "write every vector with the same dimension")
        return block["values"]
