import threading

import pytest

from nightgate.transcription.whisper_batch import batch_size_cpu, batches, each, splits, spread


@pytest.mark.parametrize(("gpu", "cpu"), [(16, 4), (17, 4), (8, 2), (7, 1), (4, 1), (3, 1), (1, 1), (1024, 256)])
def test_the_cpu_takes_a_quarter_and_at_least_one(gpu, cpu):
    assert batch_size_cpu(gpu) == cpu == max(1, gpu // 4)


def test_batches_keep_the_order_and_lose_nothing():
    assert [list(batch) for batch in batches([1, 2, 3, 4, 5, 6, 7], 3)] == [[1, 2, 3], [4, 5, 6], [7]]
    assert [list(batch) for batch in batches([1, 2], 5)] == [[1, 2]]
    assert list(batches([], 4)) == []
    assert list(batches([1, 2], 1)) == [[1], [2]]


def test_a_batch_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        list(batches([1], 0))


@pytest.mark.parametrize(
    ("cores", "most", "expected"),
    [
        (1, 4, []),
        (2, 4, [(2, 1)]),
        (2, 1, []),
        (6, 4, [(2, 3), (3, 2)]),
        (16, 64, [(2, 8), (4, 4), (8, 2), (16, 1)]),
    ],
)
def test_a_split_uses_every_core_of_the_cpu(cores, most, expected):
    assert splits(cores, most, "cpu") == expected


def test_contexts_on_a_gpu_share_the_cores():
    assert splits(2, 16, "gpu") == [(2, 1), (4, 1), (8, 1)]
    assert splits(16, 3, "gpu") == [(2, 8)]
    assert splits(16, 8, "gpu") == [(2, 8), (4, 4), (8, 2)]
    assert splits(16, 1, "gpu") == []


def test_results_come_in_the_order_of_the_items():
    assert spread(["only"], [1, 2, 3], lambda context, item: (context, item * 10)) == [
        ("only", 10),
        ("only", 20),
        ("only", 30),
    ]
    assert [item for _, item in spread("ab", list(range(50)), lambda *pair: pair)] == list(range(50))
    assert spread("ab", [], lambda *pair: pair) == []


def test_contexts_work_side_by_side_and_never_twice_at_once():
    together = threading.Barrier(2, timeout=10)  # breaks unless both contexts are at work at the same time
    busy = {"a": 0, "b": 0}

    def work(context, item):
        busy[context] += 1
        assert busy[context] == 1
        if item < 2:
            together.wait()
        busy[context] -= 1

    spread("ab", list(range(6)), work)


@pytest.mark.parametrize("contexts", ["a", "ab"])
def test_what_a_context_raises_is_raised(contexts):
    def work(context, item):
        raise ZeroDivisionError(item)

    with pytest.raises(ZeroDivisionError):
        spread(contexts, [1, 2, 3], work)


def test_one_context_works_where_it_is_called():
    seen = []
    spread(["only"], [1, 2], lambda context, item: seen.append(threading.get_ident()))
    assert seen == [threading.get_ident()] * 2


def test_more_contexts_than_a_pool_has_by_itself_work_side_by_side():
    together = threading.Barrier(40, timeout=5)
    each(range(40), lambda context: together.wait())
    spread(range(40), range(40), lambda context, item: together.wait())
    assert not together.broken


def test_each_context_works_once_and_all_at_the_same_time():
    together, seen = threading.Barrier(3, timeout=10), []

    def work(context):
        together.wait()
        seen.append(context)

    each("abc", work)
    assert sorted(seen) == ["a", "b", "c"]
    with pytest.raises(ZeroDivisionError):
        each("ab", lambda context: 1 // (context == "a"))
