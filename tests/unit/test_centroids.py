"""Two-level k-means: as many centroids as asked, good ones, and nearest ones found without trying all."""

from __future__ import annotations

import numpy as np
import pytest

from nightgate.hybrid_ann.strategies import centroids, ivfpq_index


def vectors(rows=4000, dim=16, metric="cosine"):
    rng = np.random.default_rng(0)
    found = rng.standard_normal((60, dim))[rng.integers(0, 60, rows)] + 0.2 * rng.standard_normal((rows, dim))
    if metric == "cosine":
        found /= np.linalg.norm(found, axis=1, keepdims=True)
    return found.astype(np.float32)


def distortion(sample, centres):
    return ((sample[:, None] - centres[None]) ** 2).sum(axis=-1).min(axis=1).mean()


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_the_centroids_are_nearly_as_good_as_those_of_lloyd(metric):
    import faiss

    sample = vectors(metric=metric)
    found = centroids.two_level(sample, 64, metric)
    assert found.shape == (64, 16)
    lloyd = faiss.Kmeans(16, 64, niter=25, seed=1, spherical=metric == "cosine", min_points_per_centroid=1)
    lloyd.train(sample)
    at_random = sample[np.random.default_rng(2).permutation(len(sample))[:64]]
    best, worst = distortion(sample, lloyd.centroids), distortion(sample, at_random)
    assert distortion(sample, found) < best + 0.5 * (worst - best)


def test_the_same_sample_gives_the_same_centroids():
    assert np.array_equal(centroids.two_level(vectors(), 32, "l2"), centroids.two_level(vectors(), 32, "l2"))


def test_few_vectors_give_fewer_centroids_and_none_twice():
    found = centroids.two_level(vectors(rows=20), 64, "l2")
    assert 1 <= len(found) <= 20
    assert len(np.unique(found, axis=0)) == len(found)


@pytest.mark.parametrize("metric", ["cosine", "l2", "ip"])
def test_nearly_every_vector_gets_its_nearest_centroid(metric):
    sample = vectors(metric=metric)
    centres = centroids.two_level(sample, 256, metric)
    found = centroids.assigner(centres, metric).search(sample, 1)[1][:, 0]
    scores = -((sample[:, None] - centres[None]) ** 2).sum(axis=-1) if metric == "l2" else sample @ centres.T
    assert (found == scores.argmax(axis=1)).mean() > 0.9


def test_seats_are_divided_in_proportion():
    assert centroids._apportion(np.array([10, 30, 60]), 10).tolist() == [1, 3, 6]
    assert centroids._apportion(np.array([1, 0, 99]), 10).tolist() == [1, 0, 9]
    assert centroids._apportion(np.array([5, 5, 5]), 10).sum() == 10


@pytest.mark.parametrize(("rows", "lists"), [(100, 16), (50_000, 512), (1_000_000, 8192), (20_000_000, 65_536)])
def test_a_list_for_every_128_rows(rows, lists):
    assert ivfpq_index.lists_for(rows, 128) == lists
