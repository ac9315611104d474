"""The search on a device runs the lines of the CPU, and so these tests run them by numpy and by torch on the CPU."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from support.extras import needs_torch

from nightgate.errors import NotMeasured, Unavailable
from nightgate.vectors import arrays, data, exact, scoring, truth
from nightgate.vectors.arrays import Arrays, Torch
from nightgate.vectors.dataset import describe
from nightgate.vectors.exact import ExactSearch
from nightgate.vectors.metric import METRICS, behind, unit


class Roomy:
    """Has room for the base, and scores in blocks that are short enough for there to be several."""

    def free_bytes(self):
        return 2**40

    def block(self, count):
        return 200, 300


def numpy_device():
    return type("NumpyDevice", (Roomy, Arrays), {})()


def torch_device():
    needs_torch()
    return type("TorchDevice", (Roomy, Torch), {})("cpu")


@pytest.fixture(params=[numpy_device, torch_device], ids=["numpy", "torch"])
def device(request):
    return request.param()


def vectors(metric, seed=0, rows=1000, queries=40, dim=24, copies=True):
    """Tight groups far apart, with copies and rows that mirror each other, so that there are ties of both kinds."""
    rng = np.random.default_rng(seed)
    base = (3 * rng.standard_normal((20, dim)))[rng.integers(0, 20, rows)] + rng.standard_normal((rows, dim))
    asked = base[rng.permutation(rows)[:queries]] + 0.3 * rng.standard_normal((queries, dim))
    if copies:
        base[::9] = base[3]
    base[1::9, 0], asked[:, 0] = -base[2::9, 0][: len(base[1::9])], 0
    base[1::9, 1:] = base[2::9, 1:][: len(base[1::9])]
    if metric == "cosine":
        base, asked = unit(base), unit(asked)
    return base.astype(np.float32), asked.astype(np.float32)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("k", [1, 10, 120])
def test_the_same_ids_come_from_the_device_ties_and_all(device, metric, k):
    base, asked = vectors(metric)
    search = ExactSearch(base, metric, arrays=device)
    assert search.on_device
    expected = truth.exact(base, asked, k, metric).ids
    assert search.search(asked, k).ids.tolist() == expected.tolist()
    assert truth.exact(base, asked, k, metric, arrays=device).ids.tolist() == expected.tolist()


@pytest.mark.parametrize("metric", METRICS)
def test_so_they_do_when_the_base_does_not_fit(device, monkeypatch, metric):
    monkeypatch.setattr(type(device), "free_bytes", lambda self: 0)
    base, asked = vectors(metric, seed=2)
    search = ExactSearch(base, metric, arrays=device)
    assert not search.on_device
    assert search.search(asked, 15).ids.tolist() == truth.exact(base, asked, 15, metric).ids.tolist()


@pytest.mark.parametrize("metric", ["cosine", "ip"])
def test_room_for_one_copy_is_enough_without_a_shift_and_4_gib_stay_free(device, monkeypatch, metric):
    base, _ = vectors(metric)
    for shifted in (False, True):
        copies = 2 if shifted else 1
        for free, kept in ((copies * base.nbytes + 2**32, True), (copies * base.nbytes + 2**32 - 1, False)):
            monkeypatch.setattr(type(device), "free_bytes", lambda self, free=free: free)
            assert ExactSearch(base, "l2" if shifted else metric, arrays=device).on_device is kept


def test_what_the_device_cannot_tell_apart_is_decided_on_the_cpu(device, monkeypatch):
    base, asked = vectors("l2")
    asked_of = []
    real = exact.nearest
    monkeypatch.setattr(exact, "nearest", lambda rows, *rest: asked_of.append(rest[1].tobytes()) or real(rows, *rest))
    ExactSearch(base, "l2", arrays=device).search(asked, 10)
    some = {query.tobytes() for query in asked}
    assert set(asked_of) < some, "the others have no ties among their nearest"
    assert asked_of
    asked_of.clear()
    ExactSearch(base[2::9], "l2", arrays=device).search(asked[:5], 10)
    assert not asked_of, "here no query has one"
    ExactSearch(base[2::9], "l2").search(asked[:5], 10)
    assert len(asked_of) == 5


@pytest.mark.parametrize("metric", METRICS)
def test_the_order_on_the_device_is_sure_where_differences_exceed_what_float64_tells_apart(device, metric):
    rng = np.random.default_rng(3)
    base, asked = rng.standard_normal((60, 8)).astype(np.float32), rng.standard_normal((4, 8)).astype(np.float32)
    base[41] = base[40]
    base[40:42] = 3 * asked[1] if metric == "ip" else asked[1]  # the nearest of one query
    rows = scoring.Rows(base, metric, np.float32, device).keep()
    candidates = np.stack([rng.permutation(60) for _ in asked])
    ids, sure = exact.ordered(rows, asked, device.put(candidates), 5)
    assert (ids.dtype, sure.dtype) == (np.int64, bool)
    for row, query in enumerate(asked):
        assert ids[row].tolist() == exact.nearest(base, candidates[row], query, 5, metric).tolist()
        assert sure[row] == (not {40, 41} & set(ids[row].tolist()))
    assert not sure.all() and sure.any()
    # the pair stands sixth and seventh: it is no part of the five; fifth and sixth, and either may be
    place = [40, 41, *(set(range(60)) - {40, 41})]
    order = exact.nearest(base, np.array(place), asked[1], 60, metric)
    at = min(order.tolist().index(40), order.tolist().index(41))
    for k, expected in ((at, True), (at + 1, False), (at + 2, False)):
        if k:
            assert exact.ordered(rows, asked[1:2], device.put(candidates[:1]), k)[1].tolist() == [expected]


def alone(device, base, k):
    """What the device makes of all rows of ``base`` for a query at 0, and whether it is sure."""
    base = np.array(base, np.float32)
    rows = scoring.Rows(base, "l2", np.float32, device).keep()
    ids, sure = exact.ordered(rows, np.zeros((1, base.shape[1]), np.float32), device.put(np.arange(len(base))[None]), k)
    return ids[0].tolist(), bool(sure[0])


def test_a_difference_that_rounding_could_have_made_is_not_sure(device):
    far = [[5000, 0, 0], [7000, 0, 0]]
    assert alone(device, [[1000, 0, 0], [0, 1000, 2.0**-12], *far], 1) == ([0], False)
    assert alone(device, [[1000, 0, 0], [0, 1000, 2.0**-12], *far], 3) == ([0, 1, 2], False)
    assert alone(device, [[1000, 0, 0], [0, 1000, 1], *far], 3) == ([0, 1, 2], True)


def test_the_device_sees_the_others_from_the_best_too(device):
    """As seen from the first, 1e9 away, the next two are equally far."""
    assert alone(device, [[1e9], [1 + 2.0**-20], [1.0], [5.0]], 3) == ([2, 1, 3], True)


def test_the_device_decides_in_parts_that_fit(device, monkeypatch):
    base, asked = vectors("cosine")
    expected = truth.exact(base, asked, 10, "cosine").ids.tolist()
    monkeypatch.setattr(exact, "_DECIDED", 3 * 38 * 24)
    assert ExactSearch(base, "cosine", arrays=device).search(asked, 10).ids.tolist() == expected


def test_an_original_decides_on_the_cpu(device, monkeypatch):
    rng = np.random.default_rng(5)
    base, asked = 1 + 1e-9 * rng.standard_normal((500, 8)), rng.standard_normal((6, 8))
    rounded, rounded_asked = base.astype(np.float32), asked.astype(np.float32)
    expected = truth.exact(rounded, rounded_asked, 10, "l2", original=base, original_queries=asked).ids.tolist()
    monkeypatch.setattr(exact, "ordered", lambda *_: pytest.fail("the device has no original"))
    search = ExactSearch(rounded, "l2", original=base, arrays=device)
    assert search.search(rounded_asked, 10, original=asked).ids.tolist() == expected


def test_what_a_search_costs(device, monkeypatch):
    monkeypatch.setattr(exact, "_QUERIES", 16)
    ticks = iter(range(100))
    monkeypatch.setattr(exact, "perf_counter", lambda: float(next(ticks) ** 2))
    base, asked = vectors("ip", queries=40)
    done = []
    monkeypatch.setattr(type(device), "synchronize", lambda self: done.append(len(done)))
    found = ExactSearch(base, "ip", arrays=device).search(asked, 10)
    assert found.flops == 2 * 40 * 1000 * 24
    assert found.bytes_moved == 4 * (3 * 1000 * 24 + 40 * 24 + 2 * 40 * 1000), "the base once for each 16 queries"
    # read at the start, before and after each of the three times that candidates are found, and at the end
    assert (found.seconds, found.scoring_seconds) == (49.0, (4 - 1) + (16 - 9) + (36 - 25))
    assert len(done) == 3


def test_what_is_not_proven_is_said_and_left_where_it_is_not_asked_for(device, monkeypatch):
    base, asked = vectors("ip", seed=4, copies=False)
    search, expected = ExactSearch(base, "ip", arrays=device), truth.exact(base, asked, 10, "ip").ids.tolist()
    assert search.search(asked, 10).proven.all()
    monkeypatch.setattr(scoring.Scoring, "_error", lambda self, query: np.where(np.arange(40) % 2, np.inf, 0.0)[query])
    monkeypatch.setattr(ExactSearch, "_in_float64", lambda self, asked, k: np.full((len(asked), k), -7))
    found = search.search(asked, 10)
    assert found.proven.tolist() == [True, False] * 20
    assert [set(row) == {-7} for row in found.ids.tolist()] == [False, True] * 20
    assert search.nearest(asked, 10).ids.tolist() == expected


def test_numbers_that_leave_float32_are_ranked_all_the_same(device):
    base = (1e20 * np.arange(1, 401)[:, None] * [1, -0.5]).astype(np.float32)[np.random.default_rng(0).permutation(400)]
    asked = np.array([[3e20, 1e20], [-3e20, 1e20]], np.float32)
    assert (
        ExactSearch(base, "ip", arrays=device).search(asked, 30).ids.tolist()
        == truth.exact(base, asked, 30, "ip").ids.tolist()
    )


def test_the_parts_of_the_seam_mean_the_same(device):
    rng = np.random.default_rng(1)
    rows = rng.permuted(np.tile(np.arange(12.0), (5, 1)), axis=1)
    columns = rng.integers(0, 12, (5, 3))
    there = device.put(rows)
    assert np.sort(rows, axis=1).tolist() == device.get(device.sort(there)).tolist()
    largest = device.get(device.largest(there, 4))
    assert np.sort(np.take_along_axis(rows, largest, axis=1), axis=1).tolist() == [[8, 9, 10, 11]] * 5
    assert device.get(device.take(there, device.put(columns))).tolist() == np.take_along_axis(rows, columns, 1).tolist()
    tied = device.put(np.array([[1.0, 0, 1, 0, 1]]))
    assert device.get(device.argsort(tied)).tolist() == [[1, 3, 0, 2, 4]]
    assert device.get(device.flatnonzero(there > 9)).tolist() == np.flatnonzero(rows > 9).tolist()
    assert device.get(device.arange(3)).tolist() == [0, 1, 2]
    assert device.put(there) is there
    full = device.get(device.full((2, 3), -np.inf, np.float32))
    assert (full.dtype, full.tolist()) == (np.float32, [[-np.inf] * 3] * 2)
    assert device.get(device.empty((2, 3), "int64")).dtype == np.int64
    assert device.facts()["arrays"].startswith(f"{device.name} ") and device.facts()["name"] == "cpu"


@pytest.mark.parametrize("metric", METRICS)
def test_differences_of_distances_are_the_same_of_many_queries_at_once(device, metric):
    rng = np.random.default_rng(6)
    rows, pivot, query = (rng.standard_normal(shape) for shape in ((3, 7, 5), (3, 1, 5), (3, 1, 5)))
    farther, tie = behind(*map(device.put, (rows, pivot, query)), metric, device.xp)
    for one in range(3):
        expected = behind(rows[one], pivot[one, 0], query[one, 0], metric)
        assert device.get(farther)[one] == pytest.approx(expected[0], rel=1e-12)
        assert device.get(tie)[one] == pytest.approx(expected[1], rel=1e-9)


def test_vectors_of_no_length_stay_so_on_the_device(device):
    given = np.array([[3, 4], [3e-310, 4e-310], [-3e300, 4e300], [0, 0]])
    assert device.get(unit(device.put(given), device.xp)) == pytest.approx(unit(given))


def test_a_mapped_file_is_copied_and_never_written_to(tmp_path, device):
    base, asked = vectors("ip")
    np.save(tmp_path / "base.npy", base)
    mapped = np.load(tmp_path / "base.npy", mmap_mode="r")
    assert (
        ExactSearch(mapped, "ip", arrays=device).search(asked, 5).ids.tolist()
        == truth.exact(base, asked, 5, "ip").ids.tolist()
    )
    assert np.array_equal(np.load(tmp_path / "base.npy"), base)


def test_the_truth_of_a_data_set_is_found_on_the_gpu_or_else_on_the_cpu(device, monkeypatch, tmp_path, caplog):
    base, asked = vectors("ip", queries=30)
    for name, array in {"base": base, "queries": asked[:20], "tuning": asked[20:], "warmup": asked[:1]}.items():
        np.save(tmp_path / f"{name}.npy", array)
    describe(tmp_path, "ip")
    used = []
    real = truth.write
    monkeypatch.setattr(truth, "write", lambda *given: used.append(given[-1]) or real(*given))
    monkeypatch.setattr(arrays, "on", {"gpu": device, "cpu": Arrays()}.get)
    assert data.build_truth(data.TruthRequest(tmp_path, tmp_path, "gpu"))["k"] == 100
    on_device = np.load(tmp_path / "queries-ids.npy").tolist()
    data.build_truth(data.TruthRequest(tmp_path, tmp_path, "cpu"))
    assert np.load(tmp_path / "queries-ids.npy").tolist() == on_device

    def missing(_):
        raise Unavailable("torch is not installed")

    monkeypatch.setattr(arrays, "on", missing)
    data.build_truth(data.TruthRequest(tmp_path, tmp_path, "gpu"))
    assert np.load(tmp_path / "queries-ids.npy").tolist() == on_device
    assert used[0] is device and [type(each) for each in used[1:]] == [Arrays, Arrays]
    warned = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warned == ["exact neighbours are looked for on the cpu: torch is not installed"]


# --- which library --------------------------------------------------------------------------------------------------


def libraries(monkeypatch, torch, cupy):
    """What is installed: True and it sees a device, False and it sees none, None and it is not there."""
    for name, sees in (("torch", torch), ("cupy", cupy)):
        module = None
        if sees is not None:
            module = SimpleNamespace(
                cuda=SimpleNamespace(is_available=lambda sees=sees: sees), is_available=lambda sees=sees: sees
            )
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(arrays, "Torch", lambda: "torch's")
    monkeypatch.setattr(arrays, "_Cupy", lambda: "cupy's")


@pytest.mark.parametrize(
    ("torch", "cupy", "expected"),
    [(True, True, "torch's"), (True, None, "torch's"), (False, True, "cupy's"), (None, True, "cupy's")],
)
def test_torch_comes_first_and_cupy_where_it_is_not_there(monkeypatch, torch, cupy, expected):
    libraries(monkeypatch, torch, cupy)
    assert arrays.on("gpu") == expected


@pytest.mark.parametrize(
    ("torch", "cupy", "reason"),
    [
        (False, None, "torch sees no CUDA device and cupy is not installed"),
        (None, False, "torch is not installed and cupy sees no CUDA device"),
    ],
)
def test_without_either_the_reason_is_said(monkeypatch, torch, cupy, reason):
    libraries(monkeypatch, torch, cupy)
    with pytest.raises(Unavailable, match=f"{reason}. Next step: install torch, or cupy"):
        arrays.on("gpu")


def test_the_cpu_asks_no_library_for_a_device(monkeypatch):
    libraries(monkeypatch, True, True)
    assert type(arrays.on("cpu")) is Arrays


def test_a_library_that_multiplies_in_fewer_bits_is_refused(device, monkeypatch):
    real = device.xp.matmul

    def tf32(left, right):
        short = device.put(np.round(device.get(left) * 2**10) / np.float32(2**10))
        return real(short, right)

    monkeypatch.setattr(device.xp, "matmul", tf32)
    with pytest.raises(NotMeasured, match=f"{device.name} multiplies float32 in a shorter type"):
        arrays._multiplies_float32(device)
    monkeypatch.undo()
    arrays._multiplies_float32(device)
