import pytest

from nightgate.transcription.whisper_batch import batch_size_cpu, batches


@pytest.mark.parametrize(("gpu", "cpu"), [(16, 4), (17, 4), (8, 2), (7, 1), (4, 1), (3, 1), (1, 1), (1024, 256)])
def test_the_cpu_takes_a_quarter_and_at_least_one(gpu, cpu):
    assert batch_size_cpu(gpu) == cpu == max(1, gpu // 4)


def test_batches_keep_the_order_and_lose_nothing():
    assert [list(batch) for batch in batches([1, 2, 3, 4, 5, 6, 7], 3)] == [[1, 2, 3], [4, 5, 6], [7]]
    assert [list(batch) for batch in batches([1, 2], 5)] == [[1, 2]]
    assert list(batches([], 4)) == []


def test_a_batch_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        list(batches([1], 0))
