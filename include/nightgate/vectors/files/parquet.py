"""``.parquet``: one column of lists of numbers, or many columns of one number each. Read by the optional `pyarrow`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from nightgate.errors import InputError
from nightgate.vectors.files.rows import MOST_DIMENSIONS, Rows, check, reason
from nightgate.vectors.files.streamed import Streamed

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

    Read = Callable[[Path, pa.RecordBatch, int, np.dtype, int], np.ndarray]
    """The vectors of a batch of the file, each of so many dimensions, as this type; its first row has this number."""

SUFFIXES = (".parquet",)
_BUFFER = 2**20  # bytes: a column is read through it, and never as a whole
_VALUES = 2**20  # decoded at once


def open_file(path: Path, only: int | None = None) -> Rows:
    """The vectors of ``path``: its one column of lists (list, large_list or fixed_size_list), or all its columns.

    Raises:
        InputError: pyarrow is not installed, this is no Parquet file or a damaged one, or which columns are the vectors
            cannot be told. A row that is empty or of another length is found only where it is read.
    """
    if find_spec("pyarrow") is None:
        raise InputError(f"to read {path}, the package pyarrow is needed", "install it: pip install pyarrow")
    with _understood(path), _opened(path) as file:
        schema, rows = file.schema_arrow, file.metadata.num_rows
        names, of = _columns(path, schema)
        dim = len(names)
        if of is not None:
            dim = _first_length(path, file, names[0]) if rows else 1
    check(path, (rows, dim), dtype := _dtype(path, schema, names, of))
    # a column of lists may hold others beside it, which are not read
    read, columns = (_lists, names) if of is not None else (_flat, None)
    return Streamed((rows, dim), dtype, lambda: _blocks(path, columns, dim, dtype, read))


def _columns(path: Path, schema: pa.Schema) -> tuple[list[str], pa.DataType | None]:
    """The names of the columns that hold the vectors, and what the lists are of, if they are lists."""
    import pyarrow as pa

    def is_list(kind: pa.DataType) -> bool:
        return any((pa.types.is_list(kind), pa.types.is_large_list(kind), pa.types.is_fixed_size_list(kind)))

    lists = [field for field in schema if is_list(field.type)]
    if len(lists) > 1:
        raise InputError(f"{path} has several columns of lists: {_named(lists)}", "keep the one that holds the vectors")
    if lists:
        return [lists[0].name], lists[0].type.value_type
    odd = [field for field in schema if not _is_number(field.type)]
    if odd or not len(schema):
        cause = f"its column {_named(odd[:3])} is {odd[0].type}" if odd else "it has no columns"
        raise InputError(
            f"{path} has no column of lists, and not all of its columns are numbers to be compared: {cause}",
            "keep one column of lists, or only columns of float32, float64, float16, int8 or uint8",
        )
    return [field.name for field in schema], None


def _is_number(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return any((pa.types.is_floating(kind), pa.types.is_int8(kind), pa.types.is_uint8(kind)))


def _named(fields: list[pa.Field]) -> str:
    return ", ".join(repr(field.name) for field in fields)


def _dtype(path: Path, schema: pa.Schema, names: list[str], of: pa.DataType | None) -> np.dtype:
    import numpy as np

    kinds = [of] if of is not None else [schema.field(place).type for place in range(len(names))]
    if not all(_is_number(kind) for kind in kinds):
        raise InputError(f"{path} holds lists of {of} in its column {names[0]!r}", "save them as lists of float32")
    return np.result_type(*(kind.to_pandas_dtype() for kind in kinds))


def _first_length(path: Path, file: ParquetFile, name: str) -> int:
    import pyarrow.compute as pc

    batch = next(file.iter_batches(1, columns=[name], use_threads=False))
    length: int | None = pc.list_value_length(batch.column(0))[0].as_py()
    if length is None or not 1 <= length <= MOST_DIMENSIONS:
        raise InputError(f"row 0 of {path} (the first is 0) holds {length or 'no'} values", "mend or remove such rows")
    return length


def _blocks(path: Path, columns: list[str] | None, dim: int, dtype: np.dtype, read: Read) -> Iterator[np.ndarray]:
    start = 0
    with _understood(path), _opened(path) as file:
        for batch in file.iter_batches(max(1, _VALUES // dim), columns=columns, use_threads=False):
            yield read(path, batch, dim, dtype, start)
            start += batch.num_rows


def _lists(path: Path, batch: pa.RecordBatch, dim: int, dtype: np.dtype, start: int) -> np.ndarray:
    import numpy as np
    import pyarrow.compute as pc

    lengths = pc.fill_null(pc.list_value_length(batch.column(0)), -1).to_numpy(zero_copy_only=False)
    wrong = np.flatnonzero(lengths != dim)
    if len(wrong):
        length = lengths[wrong[0]]
        claim = f"holds {length} values, row 0 has {dim}" if length >= 0 else "is empty (null)"
        raise InputError(
            f"row {start + int(wrong[0])} of {path} (the first is 0) {claim}",
            "write every vector with the same dimension",
        )
    values = pc.list_flatten(batch.column(0))
    _no_nulls(path, values, start, dim)
    flat: np.ndarray = values.to_numpy(zero_copy_only=False)
    return flat.astype(dtype, copy=False).reshape(-1, dim)


def _flat(path: Path, batch: pa.RecordBatch, dim: int, dtype: np.dtype, start: int) -> np.ndarray:
    import numpy as np

    block = np.empty((batch.num_rows, dim), dtype)
    for place, column in enumerate(batch.columns):
        _no_nulls(path, column, start, 1)
        block[:, place] = column.to_numpy(zero_copy_only=False)
    return block


def _no_nulls(path: Path, values: pa.Array, start: int, per_row: int) -> None:
    import numpy as np

    if values.null_count:
        row = start + int(np.flatnonzero(values.is_null().to_numpy(zero_copy_only=False))[0]) // per_row
        raise InputError(f"row {row} of {path} (the first is 0) lacks a value (null)", "mend or remove such rows")


def _opened(path: Path) -> ParquetFile:
    from pyarrow.parquet import ParquetFile

    # by pages and through a small buffer: a file may be one group of rows of any size
    return ParquetFile(path, buffer_size=_BUFFER, pre_buffer=False)


@contextmanager
def _understood(path: Path) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # pyarrow raises almost anything on damage
        raise InputError(
            f"{path} cannot be read as Parquet ({reason(error)})", "fetch or write the file again"
        ) from error
