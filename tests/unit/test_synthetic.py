"""Synthetic vectors: the same from the same seed, queries apart from the base, and a dial that makes them harder."""

from __future__ import annotations

import numpy as np
import pytest

from nightgate.errors import InputError
from nightgate.vectors import hardness, synthetic
from nightgate.vectors.dataset import open_dataset
from nightgate.vectors.truth import Truth


def written(folder, **request):
    folder.mkdir()
    synthetic.write(folder, **{"rows": 3000, "dim": 16, "queries": 100, "seed": 3} | request)
    return open_dataset(folder)


def test_the_same_seed_gives_the_same_vectors_and_queries_are_not_in_the_base(tmp_path):
    first, second = (written(tmp_path / name) for name in "ab")
    assert np.array_equal(first.base, second.base)
    assert not np.array_equal(first.base, written(tmp_path / "c", seed=4).base)
    assert first.metric == "cosine"
    assert np.allclose(np.linalg.norm(first.base, axis=1), 1, atol=1e-5)
    nearest = (first.queries @ first.base.T).max()
    assert nearest < 0.99999
    assert not np.intersect1d(first.queries[:, 0], first.tuning[:, 0]).size


def test_the_default_gives_the_vectors_of_this_format(tmp_path):
    """A red line here means: raise FORMAT, or cached vectors and kept results no longer mean the same."""
    data = written(tmp_path / "a")
    assert synthetic.FORMAT == 4
    assert data.base[-1, :4] == pytest.approx([-0.2696579, -0.3937507, 0.21836635, -0.1449611], abs=1e-5)
    assert data.warmup[-1, :4] == pytest.approx([-0.35412887, 0.14554293, -0.19261155, 0.16431005], abs=1e-5)


@pytest.mark.parametrize("dim", [64, 256])
def test_the_dial_raises_the_local_dimension_and_lowers_the_contrast(tmp_path, dim):
    seen = [measured(written(tmp_path / str(dial), dim=dim, hardness=dial)) for dial in (0, 0.25, 0.5, 0.75, 1)]
    assert np.all(np.diff([each["local_dimension"] for each in seen]) > 0.5), seen
    for depth in "1", "10", "100":
        assert np.all(np.diff([each["relative_contrast"][depth] for each in seen]) < -0.01), seen


def test_the_hardest_data_measure_as_normal_vectors_without_any_structure(tmp_path):
    data = written(tmp_path / "hardest", dim=64, hardness=1)
    normal = np.random.default_rng(0).standard_normal((3100, 64), dtype=np.float32)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    other = type(data)(normal[100:], normal[:100], data.tuning, data.warmup, "cosine")
    assert measured(data)["local_dimension"] == pytest.approx(measured(other)["local_dimension"], rel=0.1)


@pytest.mark.parametrize("dial", [-0.1, 1.5, float("nan")])
def test_a_hardness_off_the_dial_is_refused_before_anything_is_written(tmp_path, dial):
    with pytest.raises(InputError, match="not on the dial"):
        written(tmp_path / "a", hardness=dial)
    assert not list((tmp_path / "a").iterdir())


def measured(data):
    score = data.queries @ data.base.T
    ids = np.argsort(-score, axis=1)[:, :100]
    return hardness.measure(data, Truth(ids))
