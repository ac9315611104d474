"""Raw samples: whole or not at all, each variant its own, and what is torn is said."""

from __future__ import annotations

import numpy as np
import pytest

from nightgate.errors import ArtifactError
from nightgate.measure import samples

ARRAYS = {
    "hybrid/recall": np.array([0.5, 1.0]),
    "hybrid/ids": np.array([[3, 1]]),
    "hybrid_gpu/recall": np.array([0.25]),
}


def test_each_variant_finds_its_own(tmp_path):
    file = tmp_path / "deep" / "run" / "hybrid_ann-cpu.npz"
    samples.save(file, ARRAYS)
    samples.save(file, ARRAYS)
    assert [path.name for path in file.parent.iterdir()] == ["hybrid_ann-cpu.npz"]
    found = samples.read(file, "hybrid")
    assert {name: of.tolist() for name, of in found.items()} == {"recall": [0.5, 1.0], "ids": [[3, 1]]}
    assert samples.read(file, "hybrid_gpu")["recall"].tolist() == [0.25]
    assert samples.read(file, "hnsw") == {}


def test_samples_are_compressed(tmp_path):
    samples.save(tmp_path / "zeros.npz", {"a/b": np.zeros(100_000)})
    assert (tmp_path / "zeros.npz").stat().st_size < 10_000


def test_what_cannot_be_written_whole_replaces_nothing(tmp_path):
    file = tmp_path / "of.npz"
    samples.save(file, ARRAYS)

    class Broken:
        def __array__(self, *_, **__):
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="disk is full"):
        samples.save(file, ARRAYS | {"hybrid/recall": np.zeros(2), "hybrid/broken": Broken()})
    assert samples.read(file, "hybrid")["recall"].tolist() == [0.5, 1.0]


def test_samples_that_are_not_there_are_named(tmp_path):
    with pytest.raises(ArtifactError) as caught:
        samples.read(tmp_path / "of.npz", "hybrid")
    assert caught.value.what == f"there are no samples {tmp_path}/of.npz"
    assert caught.value.next_step == "measure again to have them"


@pytest.mark.parametrize("text", [b"", b"no numbers", b"PK\x03\x04 torn"])
def test_samples_that_are_torn_are_named(tmp_path, text):
    (tmp_path / "of.npz").write_bytes(text)
    with pytest.raises(ArtifactError, match=rf"^the samples {tmp_path}/of.npz are torn \(.+\)") as caught:
        samples.read(tmp_path / "of.npz", "hybrid")
    assert caught.value.next_step == "measure again to have them"
    assert caught.value.__cause__ is not None
