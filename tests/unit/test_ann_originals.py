"""Where vectors were rounded on their way, every recall is counted by what they were, each query set by its own."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from support.turning import alone

from nightgate.errors import NotMeasured
from nightgate.vector_search import stages as staging
from nightgate.vector_search import timed
from nightgate.vector_search.in_process import InProcess
from nightgate.vector_search.passes import Passes
from nightgate.vector_search.stages import StagesRequest, stages_of
from nightgate.vector_search.strategy import Strategy
from nightgate.vector_search.timed import QueriesRequest, Work
from nightgate.vector_search.tuning import Tuning
from nightgate.vectors import truth
from nightgate.vectors.dataset import Dataset, describe, open_dataset, original_file

K = 3
COPIES = {"base": np.ones(6), "queries": [1], "tuning": [2, 3], "warmup": [9]}  # the base cannot be told apart
ORIGINALS = {"base": [1.3, 1.1, 1.6, 1.2, 1.5, 1.4], "queries": [1.0], "tuning": [2.0, 1.34]}
ANSWERS = {1: [1, 3, 4], 2: [2, 4, 0], 3: [0, 5, 3], 9: [0, 1, 2]}  # true are 1 3 0, 2 4 5 and 0 5 3


class Fixed(Strategy):
    name, label, requires = "fixed", "Fixed", ()
    settings = ({"step": 1},)
    list_of = np.array([0, 0, 1, 1, 2, 2])

    def __init__(self, folders, base, metric):
        assert folders == ()

    def tune(self, setting):
        assert setting == {"step": 1}

    def search(self, query, k):
        return np.array(ANSWERS[int(query[0])][:k])

    def route(self, query):
        return np.array([[0, 2]]), None

    def scan(self, query, routed, k):
        return np.array([4, 1, 5, 1, -1])

    def rerank(self, query, candidates, k):
        return candidates[:k]


@pytest.fixture
def work(tmp_path):
    for name, values in COPIES.items():
        np.save(tmp_path / f"{name}.npy", np.array(values, np.float32)[:, None])
    for name, values in ORIGINALS.items():
        np.save(original_file(tmp_path, name), np.array(values)[:, None])
    describe(tmp_path, "l2")
    truth.write(tmp_path, open_dataset(tmp_path), K)
    return Work(InProcess(Fixed, ()), tmp_path, tmp_path, K)


@pytest.mark.parametrize("early", [False, True])
def test_answers_and_curve_are_counted_by_the_originals(work, early):
    tuning = Tuning(0.5, 0.1, queries=500, warmup=50, give_up_early=early)
    answer = alone(timed.time_queries(QueriesRequest(work, None, tuning, Passes(1, 1), depths=(1, K))))
    assert [recall.tolist() for recall in answer.recalls.values()] == [[1], [pytest.approx(2 / 3)]]
    assert [point.recall for point in answer.tuned.curve] == [pytest.approx((2 / 3 + 1) / 2)]
    assert (answer.tuned.reached, answer.ids.tolist()) == (True, [[1, 3, 4]])


def test_stages_are_counted_by_the_originals(work):
    found = staging.time_stages(StagesRequest(work, {"step": 1}))
    # of 1, 3 and 0 the lists 0 and 2 hold two, and the candidates one
    assert found.route_recall == pytest.approx(2 / 3)
    assert found.scan_recall == pytest.approx(1 / 3)


def stages(base, ids, to_scan, candidates, k):
    rows = np.array(base, np.float32)[:, None]
    data = Dataset(rows, np.zeros((len(ids), 1), np.float32), rows[:0], rows[:0], "l2")
    strategy = SimpleNamespace(
        list_of=np.arange(len(base)), route=lambda query: (np.array([to_scan]), None),
        scan=lambda query, routed, k: np.array(candidates), rerank=lambda query, found, k: found,
    )  # fmt: skip
    found = stages_of(strategy, data, truth.Truth(np.array(ids)), k)
    return found.route_recall, found.scan_recall


def test_more_rows_as_near_as_the_last_are_no_more_than_all():
    assert stages([1, 1, 1, 1, 1], [[0, 1]], [1, 2, 3, 4], [4, 3, 2, 1], 2) == (1, 1)


def test_only_the_neighbours_that_were_asked_for_count():
    assert stages([1, 2, 3, 4], [[0, 1, 2, 3]], [0, 2, 3], [3, 0, 2], 2) == (0.5, 0.5)
    assert stages([1, 2, 3, 4], [[0, 1, 2, 3]], [0, 1], [1], 4) == (0.5, 0.25)


def test_candidates_that_repeat_or_are_missing_count_once_and_not_at_all():
    assert stages([1, 2, 3], [[0, 1]], [0, 1], [0, 0, -1, -1], 2) == (1, 0.5)
    with pytest.raises(NotMeasured) as caught:
        stages([1, 2, 3, 4], [[0, 1]], [0], [3, 0, 1, 3, -1], 2)
    assert str(caught.value).startswith("query 0 has 2 candidates out of lists that were not to be scanned")


def test_the_last_of_the_true_neighbours_counts_and_the_next_one_does_not():
    assert stages([1, 2, 3, 4], [[0, 1, 2]], [0, 1, 2], [0, 1, 2], 3) == (1, 1)
    assert stages([1, 2, 3, 4], [[0, 1, 2]], [0, 1, 3], [0, 1, 3], 3) == (2 / 3, 2 / 3)


def test_each_stage_is_called_once_for_each_query():
    called = []
    results, _ = staging._timed_all(lambda *given: called.append(given) or len(called), [(1, 2), (3, 4), (5, 6)])
    assert (called, results) == ([(1, 2), (3, 4), (5, 6)], [1, 2, 3])
