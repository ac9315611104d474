"""The readers: what each format gives, and how each refuses what it is not."""

from __future__ import annotations

import os
import struct

import h5py
import numpy as np
import pytest

from nightgate.errors import InputError
from nightgate.vectors.files import metric_of, open_queries, open_vectors

FLOATS = np.random.default_rng(0).standard_normal((7, 3)).astype("<f4")
BYTES = np.random.default_rng(0).integers(0, 256, (7, 3), dtype=np.uint8)


def xbin(array):
    return struct.pack("<II", *array.shape) + array.tobytes()


def xvecs(array):
    return b"".join(struct.pack("<i", len(row)) + row.tobytes() for row in array)


def saved(path, content):
    """``content`` as it would be written under the name of ``path``."""
    if path.suffix == ".npy":
        np.save(path, content)
    elif path.suffix in (".hdf5", ".h5"):
        with h5py.File(path, "w") as file:
            for name, value in content.items():
                file.create_dataset(name, data=value)
    else:
        path.write_bytes(content)
    return path


def refusal(path, opened=open_vectors):
    with pytest.raises(InputError) as caught:
        opened(path)
    assert str(path) in caught.value.what
    assert caught.value.next_step
    return caught.value.what


FORMATS = {
    "a.fvecs": (xvecs(FLOATS), FLOATS),
    "a.bvecs": (xvecs(BYTES), BYTES),
    "a.fbin": (xbin(FLOATS), FLOATS),
    "a.u8bin": (xbin(BYTES), BYTES),
    "a.i8bin": (xbin(BYTES.view(np.int8)), BYTES.view(np.int8)),
    "a.npy": (FLOATS, FLOATS),
    "columns.npy": (np.asfortranarray(FLOATS), FLOATS),
    "half.npy": (FLOATS.astype(np.float16), FLOATS.astype(np.float16)),
    "big.npy": (FLOATS.astype(">f8"), FLOATS.astype(np.float64)),
    "a.hdf5": ({"train": FLOATS}, FLOATS),
    "B.H5": ({"train": BYTES}, BYTES),
}


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_gives_its_shape_and_its_rows_block_by_block(tmp_path, name):
    content, expected = FORMATS[name]
    rows = open_vectors(saved(tmp_path / name.lower(), content).rename(tmp_path / name))
    assert tuple(rows.shape) == expected.shape
    assert rows.dtype.itemsize == expected.dtype.itemsize
    for start, stop in [(0, 7), (2, 5), (6, 7), (3, 3)]:
        assert np.array_equal(rows[start:stop], expected[start:stop])


@pytest.mark.parametrize(
    "said, metric",
    [
        ("angular", "cosine"),
        ("euclidean", "l2"),
        ("dot", "ip"),
        (b"dot", "ip"),
        ("cosine", "cosine"),
        ("hamming", "hamming"),
        ("", None),
        (3, "3"),
    ],
)
def test_an_hdf5_file_brings_its_queries_and_its_metric(tmp_path, said, metric):
    path = saved(tmp_path / "a.hdf5", {"train": FLOATS, "test": FLOATS[:2] + 1})
    with h5py.File(path, "a") as file:
        file.attrs["distance"] = said
    assert metric_of(path) == metric
    assert np.array_equal(open_queries(path)[0:2], FLOATS[:2] + 1)


def test_other_files_bring_neither(tmp_path):
    for path in (saved(tmp_path / "a.npy", FLOATS), saved(tmp_path / "a.hdf5", {"train": FLOATS})):
        assert open_queries(path) is None
        assert metric_of(path) is None


@pytest.mark.parametrize("options", [{"chunks": (2, 3)}, {"chunks": (4, 2), "compression": "gzip", "shuffle": True}])
def test_an_hdf5_file_may_be_in_pieces_and_compressed(tmp_path, options):
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file.create_dataset("train", data=FLOATS, **options)
    assert np.array_equal(open_vectors(tmp_path / "a.hdf5")[1:7], FLOATS[1:7])


@pytest.mark.parametrize("name", ["a.fvecs", "a.bvecs", "a.fbin", "a.u8bin", "a.npy"])
def test_a_file_that_ends_early_is_refused_with_the_row(tmp_path, name):
    path = saved(tmp_path / name, FORMATS[name][0])
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert "ends within row 6 (the first is 0)" in refusal(path)
    row = FORMATS[name][1][0].nbytes + (4 if "vecs" in name else 0)
    path.write_bytes(whole[: -2 * row - 1])
    assert "ends within row 4 (the first is 0)" in refusal(path)
    path.write_bytes(whole[:3])
    refusal(path)
    path.write_bytes(b"")
    refusal(path)


ENDS_EARLY = ["a.fvecs", "a.bvecs", "a.fbin", "a.u8bin", "a.i8bin", "a.npy", "half.npy"]


@pytest.mark.parametrize("name", ENDS_EARLY)
def test_the_first_rows_of_a_file_that_ends_early_will_do(tmp_path, name):
    content, expected = FORMATS[name]
    path = saved(tmp_path / name, content)
    row = expected[0].nbytes + (4 if "vecs" in name else 0)
    path.write_bytes(path.read_bytes()[: -2 * row - 1])
    for only in (1, 4):
        rows = open_vectors(path, only)
        assert tuple(rows.shape) == (4, 3), "the whole ones"
        assert np.array_equal(rows[0:4], expected[:4])
    said = refusal(path, lambda path: open_vectors(path, 5))
    assert "ends within row 4 (the first is 0)" in said and said.endswith(", and the first 5 are asked for")
    with pytest.raises(InputError, match="or use only the 4 whole ones"):
        open_vectors(path)
    path.write_bytes(path.read_bytes()[:-row])
    assert tuple(open_vectors(path, 3).shape) == (3, 3)


def test_a_file_by_columns_that_ends_early_holds_no_whole_row(tmp_path):
    path = saved(tmp_path / "a.npy", FORMATS["columns.npy"][0])
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"within row 0 .* Next step: fetch or write the file again$"):
        open_vectors(path, 1)


def test_the_first_rows_of_an_hdf5_file_whose_later_pieces_are_missing_will_do(tmp_path):
    path = tmp_path / "a.hdf5"
    with h5py.File(path, "w") as file:
        made = file.create_dataset("train", (1000, 3), "f4", chunks=(2, 2))
        made[0:5] = FLOATS[:5]  # as many pieces as hold rows 0 to 5, whose last is zero
        made[8:10] = FLOATS[:2]
    for only in (1, 6):
        rows = open_vectors(path, only)
        assert tuple(rows.shape) == (6, 3)
        assert np.array_equal(rows[0:6], [*FLOATS[:5], [0, 0, 0]])
    assert "all 1000 rows that its data set 'train' claims, and the first 7 are asked for" in refusal(
        path, lambda path: open_vectors(path, 7)
    )
    refusal(path)


@pytest.mark.parametrize("name", ["a.fbin", "a.u8bin", "a.npy"])
def test_a_file_longer_than_its_header_claims_is_refused(tmp_path, name):
    path = saved(tmp_path / name, FORMATS[name][0])
    path.write_bytes(path.read_bytes() + b"\0\0")
    assert "goes on for 2 bytes after the 7 rows of 3 dimensions" in refusal(path)


def test_a_ragged_file_is_refused_with_the_row(tmp_path):
    parts = [xvecs(FLOATS[:4]), xvecs(FLOATS[4:5, :2]), xvecs(FLOATS[5:])]
    path = saved(tmp_path / "a.fvecs", b"".join(parts))
    assert "row 4 (the first is 0) claims 2 dimensions, row 0 has 3" in refusal(path)
    # with an empty record after the short one the length fits, so the slice that meets it finds it
    path = saved(tmp_path / "b.fvecs", b"".join([*parts[:2], xvecs(FLOATS[:1, :0])]))
    rows = open_vectors(path)
    assert len(rows[0:4]) == 4
    assert "row 4 (the first is 0) claims 2" in refusal(path, lambda _: rows[2:5])


@pytest.mark.parametrize(
    "name, content, reason",
    [
        ("a.fbin", struct.pack("<II", 2**31, 256) + bytes(64), "ends within row 0"),
        ("a.fbin", struct.pack("<II", 0, 3), "is empty"),
        ("a.fbin", struct.pack("<II", 3, 0), "claims vectors of 0 dimensions"),
        ("a.fvecs", struct.pack("<i", -1) + bytes(64), "its first record claims -1 dimensions"),
        ("a.fvecs", struct.pack("<i", 2**31 - 1) + bytes(64), "claims 2147483647 dimensions"),
        ("a.bvecs", b"\x93NUMPY\x01\x00" + bytes(64), "is no .bvecs file"),
        ("a.npy", np.zeros(4, np.float32), "holds an array of the shape 4, not rows of vectors"),
        ("a.npy", np.zeros((2, 2, 2), np.float32), "an array of the shape 2 × 2 × 2, not rows of vectors"),
        ("a.npy", np.float32(1), "a single number"),
        ("a.npy", np.zeros((0, 4), np.float32), "is empty"),
        ("a.npy", np.zeros((4, 4), np.int64), "values of type int64"),
        ("a.npy", np.zeros((4, 4), bool), "values of type bool"),
        ("a.npy", np.zeros((4, 4), np.complex64), "values of type complex64"),
        ("a.npy", np.array([["a", "b"]]), "values of type <U1"),
        ("a.hdf5", {"train": np.zeros(4, np.float32)}, "the shape 4, not rows"),
        ("a.hdf5", {"train": np.zeros((4, 4), np.int32)}, "values of type int32"),
        ("a.hdf5", {"train": h5py.Empty("f4")}, "a single number"),
        ("a.hdf5", {"vectors": FLOATS}, "no data set 'train', only 'vectors'"),
        ("a.hdf5", {}, "only nothing at all"),
        ("a.hdf5", {"train/inner": FLOATS}, "no data set 'train', only 'train'"),
    ],
)
def test_what_is_no_vectors_is_refused_with_the_reason(tmp_path, name, content, reason):
    assert reason in refusal(saved(tmp_path / name, content))


def test_python_objects_are_never_loaded(tmp_path):
    np.save(tmp_path / "a.npy", np.array([[{}]], dtype=object), allow_pickle=True)
    assert "Python objects" in refusal(tmp_path / "a.npy")


def test_rows_that_an_hdf5_file_only_claims_are_refused(tmp_path):
    path = tmp_path / "a.hdf5"
    for options in ({}, {"chunks": (1024, 256)}, {"chunks": (2**21, 256)}):
        with h5py.File(path, "w") as file:
            file.create_dataset("train", (2**31, 256), "f4", **options)[0:0]
        assert "does not hold all 2147483648 rows" in refusal(path)
    with h5py.File(path, "w") as file:
        file.create_dataset("train", (2, 3), "f4", external=[("elsewhere.bin", 0, h5py.h5f.UNLIMITED)])
    assert "does not hold all 2 rows" in refusal(path)


def test_a_wrong_name_or_no_file_is_refused(tmp_path):
    assert "suffix that is not known" in refusal(saved(tmp_path / "a.txt", b"1 2 3"))
    assert "there is no file" in refusal(tmp_path / "a.npy")
    assert "there is no file" in refusal(tmp_path / "a.txt.zip")
    assert "is a folder" in refusal(tmp_path)
    (tmp_path / "b.npy").mkdir()
    assert "is a folder" in refusal(tmp_path / "b.npy")
    os.mkfifo(tmp_path / "c.npy")
    assert "there is no file" in refusal(tmp_path / "c.npy"), "a pipe would be waited for"
    assert "cannot be read (File name too long)" in refusal(tmp_path / f"{'a' * 300}.npy")
    assert "cannot be read as HDF5" in refusal(saved(tmp_path / "a.fbin", xbin(FLOATS)).rename(tmp_path / "d.hdf5"))
    (tmp_path / "e.npy").write_bytes(xbin(FLOATS))
    assert "is no .npy file of vectors" in refusal(tmp_path / "e.npy")
