"""Thousands of damaged vector files: each gives just what its bytes say, or is refused with a typed error."""

from __future__ import annotations

import io
import random
import resource
import struct
import tracemalloc
from collections import Counter

import h5py
import numpy as np
import pytest

from nightgate.errors import InputError
from nightgate.vectors.files import hdf5 as files_hdf5
from nightgate.vectors.files import metric_of, open_queries, open_vectors

ROWS, DIM = 9, 5
FLOATS = np.random.default_rng(0).standard_normal((ROWS, DIM)).astype("<f4")
BYTES = np.random.default_rng(0).integers(0, 256, (ROWS, DIM), dtype=np.uint8)
EXTREME = [0, 1, -1, 2, 4, 5, 6, 255, 256, 65_535, 65_536, 65_537, 1 << 24, (1 << 31) - 1, -(1 << 31)]
WORDS = [b"'<f4'", b"'|O'", b"'<U9'", b"'>f8'", b"True", b"False", b"None", b"(", b")", b"(5,)", b"-1", b"99999999999"]
FLAT_INPUTS, HDF5_INPUTS = 12_000, 1_500


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def xvecs(array):
    return b"".join(struct.pack("<i", DIM) + row.tobytes() for row in array)


def xbin(array):
    return struct.pack("<II", *array.shape) + array.tobytes()


def hdf5(**options):
    file = io.BytesIO()
    with h5py.File(file, "w") as opened:
        opened.create_dataset("train", data=FLOATS, **options)
        opened.create_dataset("test", data=FLOATS[:3])
        opened.attrs["distance"] = "angular"
    return file.getvalue()


WHOLE = {
    ".fvecs": xvecs(FLOATS),
    ".bvecs": xvecs(BYTES),
    ".fbin": xbin(FLOATS),
    ".u8bin": xbin(BYTES),
    ".i8bin": xbin(BYTES.view(np.int8)),
    ".npy": npy(FLOATS),
}


def meant(suffix, data):
    """The rows that ``data`` holds, by the definition of its format; asked only about files that were accepted."""
    if suffix == ".npy":
        return np.load(io.BytesIO(data))
    kind = np.dtype({"f": "<f4", "b": "u1", "u": "u1", "i": "i1"}[suffix[1]])
    if suffix.endswith("bin"):
        return np.frombuffer(data, kind, offset=8).reshape(struct.unpack_from("<II", data))
    rows = []
    while data:
        end = 4 + kind.itemsize * int.from_bytes(data[:4], "little")
        rows.append(np.frombuffer(data[4:end], kind))
        data = data[end:]
    return np.array(rows)


def damaged(whole, header, dice):
    data = bytearray(whole)
    for _ in range(dice.choice([1, 1, 1, 2, 3])):
        place = dice.randrange(min(header, len(data)) if dice.random() < 0.6 else len(data)) if data else 0
        match dice.randrange(7):
            case 0 if data:
                data[place] ^= 1 << dice.randrange(8)
            case 1:
                del data[place:]
            case 2:
                del data[place : place + dice.choice([1, 4, DIM, 4 + DIM, 4 * DIM, 4 + 4 * DIM])]
            case 3:
                data[place:place] = dice.randbytes(dice.choice([1, 4, DIM, 4 + DIM, 4 * DIM, 4 + 4 * DIM]))
            case 4 if len(data) >= place + 4:
                struct.pack_into("<i", data, place, dice.choice(EXTREME))
            case 5:
                data[place:place] = dice.choice(WORDS)
            case 6:
                word = dice.choice(WORDS)
                data[place : place + len(word)] = word
    return bytes(data)


def outcome(path):
    """What is read of ``path`` in two blocks, or None when it is refused."""
    try:
        rows = open_vectors(path)
        half = rows.shape[0] // 2
        return np.concatenate([rows[0:half], rows[half : rows.shape[0]]])
    except InputError as error:  # any other exception fails the test
        assert str(path) in error.what
        assert error.next_step
        assert str(error).isprintable()
        return None


@pytest.mark.filterwarnings("ignore:invalid escape sequence")  # a .npy header is a Python literal
@pytest.mark.parametrize("suffix", WHOLE)
def test_a_damaged_file_is_read_as_it_is_or_refused(tmp_path, suffix):
    dice, outcomes, path = random.Random(suffix), Counter(), tmp_path / f"a{suffix}"
    for _ in range(FLAT_INPUTS // len(WHOLE)):
        data = damaged(WHOLE[suffix], 128 if suffix == ".npy" else 12, dice)
        path.unlink(missing_ok=True)  # a new file is several times cheaper than emptying one
        path.write_bytes(data)
        found = outcome(path)
        outcomes[found is None] += 1
        if found is not None:
            assert np.array_equal(found, meant(suffix, data), equal_nan=True)
            assert found.nbytes <= len(data)
    assert outcomes[True] > 400
    assert outcomes[False] > 40


@pytest.mark.parametrize("suffix", WHOLE)
def test_no_number_in_a_header_asks_for_much_memory(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    inputs = [WHOLE[suffix].replace(b"(9, 5)", b"(%d, 5)" % 2**n) for n in (20, 31, 62, 70)]
    for place in (0, 4, 8):
        for number in EXTREME:
            data = bytearray(WHOLE[suffix])
            struct.pack_into("<i", data, place, number)
            inputs.append(bytes(data))
    tracemalloc.start()
    try:
        for data in inputs:
            path.unlink(missing_ok=True)
            path.write_bytes(data)
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            outcome(path)
            assert tracemalloc.get_traced_memory()[1] - before < 1_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("options", [{}, {"chunks": (2, 5)}, {"chunks": (4, 5), "compression": "gzip"}], ids=str)
def test_a_damaged_hdf5_file_is_read_or_refused(tmp_path, options):
    whole, dice, outcomes = hdf5(**options), random.Random(str(options)), Counter()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(HDF5_INPUTS // 3):
        path = tmp_path / f"{number}.hdf5"
        path.write_bytes(damaged(whole, len(whole), dice))
        found = outcome(path)
        outcomes[found is None] += 1
        assert found is None or (found.ndim == 2 and found.nbytes <= 8 * len(whole))
        try:
            open_queries(path)
        except InputError as error:
            assert str(path) in error.what
        path.unlink()
    assert outcomes[True] > 40
    assert outcomes[False] > 20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kilobytes


def test_a_heap_of_strings_without_an_end_is_given_up(tmp_path, monkeypatch):
    """The damage on which the HDF5 library itself loops: what is left of the heap after its one string is said too
    small by a byte that is no multiple of 8."""
    data, path = bytearray(hdf5()), tmp_path / "a.hdf5"
    data[data.index(b"GCOL") + 48] = 0x65
    path.write_bytes(data)
    monkeypatch.setattr(files_hdf5, "_PATIENCE", 2)
    with pytest.raises(InputError, match="attribute 'distance' crashed or found no end"):
        metric_of(path)
    assert np.array_equal(outcome(path), FLOATS), "the vectors themselves are sound"
