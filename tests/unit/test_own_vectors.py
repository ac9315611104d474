"""A data set from the user's own file: the copy, its three query sets, and what is refused."""

from __future__ import annotations

import re
import struct

import h5py
import numpy as np
import pytest
from pydantic import ValidationError

from nightgate.artifacts import Cache
from nightgate.errors import InputError
from nightgate.hybrid_ann.settings import Settings
from nightgate.vectors import data, own, truth, usable
from nightgate.vectors.dataset import WARMUP, open_dataset, query_counts
from nightgate.vectors.places import BASE_FILE, QUERIES_FILE, open_places
from nightgate.vectors.prepared import DataFacts, PreparedData
from nightgate.vectors.source import Own, Synthetic

QUERIES = 60
NEEDED = 2 * QUERIES + WARMUP  # measured, to tune on, to warm up with


def vectors(rows, dim=8, seed=0):
    return np.random.default_rng(seed).standard_normal((rows, dim)).astype(np.float32)


def saved(path, array):
    np.save(path, array)
    return str(path)


def source(path, **changed):
    return Own(**{"path": str(path), "queries": QUERIES, "seed": 1, "least_rows": 100, "metric": "l2"} | changed)


def written(folder, asked):
    folder.mkdir(exist_ok=True)
    facts = own.write(folder, asked)
    return facts, open_dataset(folder)


def in_base(dataset, name):
    base = {row.tobytes() for row in np.asarray(dataset.base)}
    return sum(row.tobytes() in base for row in np.asarray(getattr(dataset, name)))


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    monkeypatch.setattr(usable, "BLOCK_BYTES", 1000)  # 31 rows of 8 dimensions


def test_without_queries_all_three_sets_are_taken_out_of_the_base(tmp_path):
    array = vectors(1000)
    facts, dataset = written(tmp_path / "a", source(saved(tmp_path / "a.npy", array)))
    assert facts == {
        "rows": 1000 - NEEDED, "dim": 8, "metric": "l2", "held_out": query_counts(QUERIES), "queries_in_base": 0,
    }  # fmt: skip
    assert dataset.metric == "l2"
    sets = {name: np.asarray(getattr(dataset, name)) for name in ("base", "queries", "tuning", "warmup")}
    assert {name: len(found) for name, found in sets.items()} == {"base": 1000 - NEEDED} | query_counts(QUERIES)
    assert all(found.dtype == np.float32 for found in sets.values())
    # nothing is lost, doubled or changed, and what stays keeps its order
    together = np.concatenate(list(sets.values()))
    assert sorted(row.tobytes() for row in together) == sorted(row.tobytes() for row in array)
    places = {row.tobytes(): place for place, row in enumerate(array)}
    order = [places[row.tobytes()] for row in sets["base"]]
    assert order == sorted(order)


def test_the_seed_decides_which_rows_are_held_out(tmp_path):
    path = saved(tmp_path / "a.npy", vectors(1000))
    drawn = [written(tmp_path / str(i), source(path, seed=seed))[1].queries for i, seed in enumerate((1, 1, 2))]
    assert np.array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])


def test_enough_queries_of_the_users_leave_the_base_whole(tmp_path):
    array, asked = vectors(500), vectors(NEEDED + 50, seed=9)
    path, queries = saved(tmp_path / "a.npy", array), saved(tmp_path / "q.npy", asked)
    facts, dataset = written(tmp_path / "a", source(path, queries_path=queries))
    assert facts["held_out"] == {"queries": 0, "tuning": 0, "warmup": 0}
    assert np.array_equal(dataset.base, array)
    used = np.concatenate([dataset.queries, dataset.tuning, dataset.warmup])
    given = {row.tobytes() for row in asked}
    assert len({row.tobytes() for row in used} & given) == NEEDED


def test_what_is_missing_comes_from_the_base_and_the_measured_queries_come_first(tmp_path):
    asked = vectors(QUERIES + 10, seed=9)
    path, queries = saved(tmp_path / "a.npy", vectors(1000)), saved(tmp_path / "q.npy", asked)
    facts, dataset = written(tmp_path / "a", source(path, queries_path=queries))
    assert facts["held_out"] == {"queries": 0, "tuning": QUERIES - 10, "warmup": WARMUP}
    assert facts["rows"] == 1000 - (QUERIES - 10) - WARMUP
    given = {row.tobytes() for row in asked}
    assert all(row.tobytes() in given for row in np.asarray(dataset.queries))
    assert sum(row.tobytes() in given for row in np.asarray(dataset.tuning)) == 10
    assert [in_base(dataset, name) for name in ("queries", "tuning", "warmup")] == [0, 0, 0]


def test_an_hdf5_file_gives_queries_and_metric(tmp_path):
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        file["train"], file["test"] = vectors(300), vectors(NEEDED, seed=9)
        file.attrs["distance"] = "angular"
    facts, dataset = written(tmp_path / "a", source(tmp_path / "a.hdf5", metric=None))
    assert (facts["metric"], facts["rows"], dataset.metric) == ("cosine", 300, "cosine")
    for found in (dataset.base, dataset.queries, dataset.tuning, dataset.warmup):
        assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    assert own.inspect(source(tmp_path / "a.hdf5", metric="ip")).metric == "ip", "what is asked for wins"
    # an HDF5 file of queries means its `test`
    path = saved(tmp_path / "b.npy", vectors(200))
    assert own.inspect(source(path, queries_path=str(tmp_path / "a.hdf5"))).held_out["warmup"] == 0


def test_bytes_become_float32_and_are_not_scaled(tmp_path):
    array = np.random.default_rng(0).integers(0, 256, (1000, 8), dtype=np.uint8)
    _, dataset = written(tmp_path / "a", source(saved(tmp_path / "a.npy", array)))
    assert {row.tobytes() for row in np.asarray(dataset.base)} <= {row.tobytes() for row in array.astype(np.float32)}


def test_only_so_many_rows_are_used_as_asked(tmp_path):
    array = vectors(1000)
    facts, dataset = written(tmp_path / "a", source(saved(tmp_path / "a.npy", array), rows=150))
    assert facts["rows"] == len(dataset.base) == 150
    first = {row.tobytes() for row in array[: 150 + NEEDED]}
    assert all(row.tobytes() in first for row in np.asarray(dataset.base))


def test_queries_that_also_stand_in_the_base_are_counted(tmp_path):
    array, asked = vectors(500), vectors(NEEDED, seed=9)
    asked[:] = np.where(np.arange(NEEDED)[:, None] % 2, asked, array[:NEEDED])  # every other one is a copy
    path, queries = saved(tmp_path / "a.npy", array), saved(tmp_path / "q.npy", asked)
    for metric, length in (("l2", 1), ("cosine", 1), ("cosine", 4)):
        saved(tmp_path / "q.npy", asked * np.float32(length))
        facts, dataset = written(tmp_path / "a", source(path, queries_path=queries, metric=metric))
        assert facts["queries_in_base"] == in_base(dataset, "queries") > 10


def test_a_negative_zero_makes_no_other_vector(tmp_path):
    array, asked = vectors(500), vectors(NEEDED, seed=9)
    array[:, 3], asked[:] = 0.0, array[:NEEDED]
    asked[:, 3] = -0.0
    path, queries = saved(tmp_path / "a.npy", array), saved(tmp_path / "q.npy", asked)
    assert written(tmp_path / "a", source(path, queries_path=queries))[0]["queries_in_base"] == QUERIES


@pytest.mark.parametrize("value, metric, reason", [
    (np.nan, "l2", "holds NaN"), (np.inf, "ip", "holds an infinity"), (-np.inf, "cosine", "holds an infinity"),
    (1e300, "l2", "is too long"), (1e19, "ip", "is too long"), (0, "cosine", "is zero"),
])  # fmt: skip
def test_a_row_that_cannot_be_compared_is_refused_by_its_number(tmp_path, value, metric, reason):
    array, asked = vectors(1000).astype(np.float64), vectors(40, seed=9)
    array[[777, 900]] = value
    path, queries = saved(tmp_path / "a.npy", array), saved(tmp_path / "q.npy", asked)
    with pytest.raises(InputError, match=rf"row 777 of .*a\.npy \(the first is 0\) {reason}"):
        written(tmp_path / "a", source(path, metric=metric))
    path, queries = saved(tmp_path / "a.npy", vectors(1000)), saved(tmp_path / "q.npy", array[770:])
    with pytest.raises(InputError, match=rf"row 7 of .*q\.npy \(the first is 0\) {reason}"):
        written(tmp_path / "a", source(path, metric=metric, queries_path=queries))


def test_all_rows_that_cannot_be_compared_are_counted_and_the_first_of_each_kind_named(tmp_path):
    array = vectors(1000).astype(np.float64)
    array[[3, 50, 51, 52, 53, 500, 999], 2] = np.nan  # in blocks of their own
    array[[7, 8], 1] = -np.inf
    array[[7, 600], 0] = np.nan  # both counts once, as NaN
    array[900] = 1e200  # which has a direction as well as any
    array[901] = 1e-200
    array[[2, 400]] = 0
    path = saved(tmp_path / "a.npy", array)
    with pytest.raises(InputError) as caught:
        own.write(tmp_path, source(path, metric="cosine", skip_zero=True))
    assert caught.value.what == (
        f"row 3 of {path} (the first is 0) holds NaN; 9 such rows in all: 3, 7, 50, 51, 52, …; "
        f"row 8 of {path} (the first is 0) holds an infinity"
    )
    assert caught.value.next_step == "mend or remove such rows"
    array = vectors(1000)
    array[[2, 400, 401, 402, 999]] = 0
    with pytest.raises(InputError) as caught:
        own.write(tmp_path, source(saved(tmp_path / "a.npy", array), metric="cosine"))
    assert str(caught.value) == (
        f"row 2 of {path} (the first is 0) is zero, which has no direction and so no cosine; 5 such rows in all: 2, 400, "
        "401, 402, 999. Next step: mend or remove such rows, or leave them out with skip_zero_rows=true"
    )
    with pytest.raises(InputError, match=r"compared by l2, which needs none. Next step: leave skip_zero_rows out"):
        own.inspect(source(path, metric="l2", skip_zero=True))


def unit(array):
    array = array.astype(np.float64)
    return array / np.linalg.norm(array, axis=1, keepdims=True)


def assert_places(folder, dataset, array, asked=None):
    """Every row of the base and every measured query is where `places` says that it is."""
    found = open_places(folder)
    assert np.allclose(dataset.base, unit(array[found.base]), atol=1e-6)
    for query, (which, row) in zip(dataset.queries, found.queries, strict=True):
        assert np.allclose(query, unit((array if which == BASE_FILE else asked)[[row]])[0], atol=1e-6)
    held = set(found.held_out.tolist())
    assert not held & set(found.base.tolist())
    return found


def test_zero_rows_are_left_out_when_asked_and_what_is_left_is_numbered_as_in_the_file(tmp_path):
    array, zero = vectors(1000), [0, 1, 30, 31, 32, 500, 999]
    array[zero] = 0
    asked = source(saved(tmp_path / "a.npy", array), metric="cosine", skip_zero=True)
    facts, dataset = written(tmp_path / "a", asked)
    assert (facts["rows"], facts["zero_rows"]) == (1000 - 7 - NEEDED, {"base": 7, "queries": 0})
    found = assert_places(tmp_path / "a", dataset, array)
    assert sorted([*found.base.tolist(), *found.held_out.tolist(), *zero]) == list(range(1000))
    assert found.queries[:, 0].tolist() == [BASE_FILE] * QUERIES
    assert found.held_out[:QUERIES].tolist() == found.queries[:, 1].tolist()
    assert found.in_file_order(np.array([[0, -1], [5, 600]])).tolist() == [
        [found.base[0], -1], [found.base[5], found.base[600]],
    ]  # fmt: skip


def test_so_many_rows_as_asked_are_used_beside_the_zero_ones(tmp_path):
    array = vectors(1000)
    array[[1, 200, 460, 800]] = 0  # of the first 473 rows three are zero, so 470 can be used
    path = saved(tmp_path / "a.npy", array)
    facts, dataset = written(tmp_path / "a", source(path, metric="cosine", skip_zero=True, rows=150))
    found = assert_places(tmp_path / "a", dataset, array)
    assert (facts["rows"], facts["zero_rows"]["base"]) == (150, 3)
    assert sorted([*found.base.tolist(), *found.held_out.tolist()]) == [
        row for row in range(150 + NEEDED + 3) if row not in (1, 200, 460)
    ]


def test_zero_queries_are_replaced_by_rows_of_the_base(tmp_path):
    array, given = vectors(1000), vectors(NEEDED, seed=9)
    given[[0, 5, 319]] = 0
    path, queries = saved(tmp_path / "a.npy", array), saved(tmp_path / "q.npy", given)
    facts, dataset = written(
        tmp_path / "a", source(path, queries_path=queries, metric="cosine", skip_zero=True)
    )  # fmt: skip
    assert facts["held_out"] == {"queries": 0, "tuning": 0, "warmup": 3}
    assert (facts["rows"], facts["zero_rows"]) == (997, {"base": 0, "queries": 3})
    found = assert_places(tmp_path / "a", dataset, array, given)
    assert found.queries[:, 0].tolist() == [QUERIES_FILE] * QUERIES
    assert not {0, 5, 319} & set(found.queries[:, 1].tolist())


def test_where_every_query_is_zero_all_come_from_the_base(tmp_path):
    array = vectors(1000)
    path, queries = saved(tmp_path / "a.npy", array), saved(tmp_path / "q.npy", np.zeros((50, 8), np.float32))
    facts, dataset = written(tmp_path / "a", source(path, queries_path=queries, metric="cosine", skip_zero=True))
    assert (facts["held_out"], facts["zero_rows"]) == (query_counts(QUERIES), {"base": 0, "queries": 50})
    assert_places(tmp_path / "a", dataset, array)


def test_too_few_rows_besides_the_zero_ones_are_refused(tmp_path):
    array = vectors(NEEDED + 100)
    array[-1] = 0
    asked = source(saved(tmp_path / "a.npy", array), metric="cosine", skip_zero=True)
    with pytest.raises(InputError, match=f"too few vectors: it holds {NEEDED + 99}, of which {NEEDED} are needed"):
        own.write(tmp_path, asked)


def test_queries_from_both_files_say_from_which(tmp_path):
    array, given = vectors(1000), vectors(QUERIES - 10, seed=9)
    path, queries = saved(tmp_path / "a.npy", array), saved(tmp_path / "q.npy", given)
    _, dataset = written(tmp_path / "a", source(path, queries_path=queries, metric="cosine"))
    found = assert_places(tmp_path / "a", dataset, array, given)
    assert found.queries[:, 0].tolist() == [QUERIES_FILE] * (QUERIES - 10) + [BASE_FILE] * 10
    assert sorted(found.queries[: QUERIES - 10, 1].tolist()) == list(range(QUERIES - 10))


def test_the_first_rows_of_a_download_that_did_not_end_are_used(tmp_path):
    array = vectors(1000)
    (tmp_path / "a.fbin").write_bytes(struct.pack("<II", 10**6, 8) + array.tobytes() + b"\0")
    path = tmp_path / "a.fbin"
    facts, dataset = written(tmp_path / "a", source(path, rows=500))
    assert facts["rows"] == 500
    assert np.array_equal(dataset.base, array[open_places(tmp_path / "a").base])
    assert own.inspect(source(path, rows=1000)).rows == 1000 - NEEDED, "queries are held out of these rows"
    for rows in (None, 1001):
        with pytest.raises(InputError, match=r"ends within row 1000 .* or use only the 1000 whole ones"):
            own.inspect(source(path, rows=rows))


def test_a_zero_vector_has_distances_and_products(tmp_path):
    array = vectors(1000)
    array[777] = 0
    for metric in ("l2", "ip"):
        _, dataset = written(tmp_path / "a", source(saved(tmp_path / "a.npy", array), metric=metric))
        everything = np.concatenate([dataset.base, dataset.queries, dataset.tuning, dataset.warmup])
        assert (~everything.any(axis=1)).sum() == 1


def test_what_cannot_be_measured_is_refused_at_once(tmp_path):
    path, other = saved(tmp_path / "a.npy", vectors(1000)), saved(tmp_path / "q.npy", vectors(900, dim=9))
    for changed, reason in (
        ({"metric": None}, "does not say how its vectors are to be compared"),
        ({"metric": "hamming"}, r"a\.npy are to be compared by 'hamming', which is not known"),
        ({"queries_path": other}, r"q\.npy have 9 dimensions and the vectors of .*a\.npy have 8"),
        (
            {"least_rows": 1001 - NEEDED},
            f"too few vectors: it holds 1000, of which {NEEDED} are needed as queries, and",
        ),
        ({"rows": 99}, "too few vectors: 99 are to be used, and 100 must be left"),
        ({"rows": 5000, "least_rows": 5000}, "too few vectors: it holds 1000"),
        ({"path": str(tmp_path / "b.npy")}, "there is no file"),
    ):
        with pytest.raises(InputError, match=reason):
            own.inspect(source(**{"path": path} | changed))
    assert own.inspect(source(path, least_rows=1000 - NEEDED)).rows == 1000 - NEEDED


def test_both_sources_are_prepared_with_truth_and_hardness(tmp_path):
    cache, path = Cache(tmp_path / "cache"), saved(tmp_path / "mine.npy", vectors(1000))
    for asked, known in (
        (source(path, metric="ip"), {"file": "mine.npy", "rows": 1000 - NEEDED, "metric": "ip", "queries_in_base": 0}),
        (Synthetic(1000, 8, QUERIES, 1), {"rows": 1000, "seed": 1}),
    ):
        found = data.prepare(cache, source=asked, threads=1)
        told = found.data.model_dump(mode="json")
        assert told | known == told
        assert {"digest", "local_dimension", "relative_contrast"} <= set(told)
        assert re.fullmatch(r"every pair scored by numpy \S+ on cpu, and proven", told["exact_neighbours"])
        assert PreparedData.model_validate_json(found.model_dump_json()) == found
        assert PreparedData.model_validate_json(found.model_dump_json()).data.model_dump(mode="json") == told
        dataset = open_dataset(found.vectors)
        exact = truth.open_truth(found.truth, "queries")
        again = truth.exact(dataset.base, dataset.queries, data.TRUTH_DEPTH, dataset.metric)
        assert np.array_equal(exact.ids, again.ids)
        assert len(truth.open_truth(found.truth, "tuning").ids) == QUERIES
        hardness = data.open_hardness(found.truth)
        assert (hardness.shape, hardness.dtype) == ((QUERIES,), np.float64)
        assert data.prepare(cache, source=asked, threads=1).vectors == found.vectors


def test_what_a_source_does_not_tell_is_not_told_and_what_is_infinite_is(tmp_path):
    facts = DataFacts(rows=3, dim=2, digest="d", local_dimension=None, relative_contrast={"1": None})
    told = {"rows": 3, "dim": 2, "digest": "d", "local_dimension": None, "relative_contrast": {"1": None}}
    assert facts.model_dump(mode="json") == told
    assert DataFacts.model_validate(told).model_dump(mode="json") == told and facts.metric == "cosine"


def test_a_file_is_cached_by_what_is_in_it(tmp_path):
    cache, path = Cache(tmp_path / "cache"), tmp_path / "a.npy"
    first = data.prepare(cache, source=source(saved(path, vectors(1000))), threads=1)
    moved = path.rename(tmp_path / "b.npy")
    second = data.prepare(cache, source=source(moved), threads=1)
    assert (second.vectors, second.data.file) == (first.vectors, "b.npy")
    changed = data.prepare(cache, source=source(saved(moved, vectors(1000, seed=3))), threads=1)
    assert changed.data.sha256 != first.data.sha256
    assert changed.vectors != first.vectors


def test_a_bad_row_reaches_the_user_out_of_the_child(tmp_path):
    array = vectors(1000)
    array[5, 2] = np.nan
    with pytest.raises(InputError, match="row 5 of"):
        data.prepare(Cache(tmp_path / "cache"), source=source(saved(tmp_path / "a.npy", array)), threads=1)


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path):
    path = saved(tmp_path / "a.npy", vectors(1000))
    request = data.VectorsRequest(source(path), tmp_path, {"file": "a.npy", "sha256": "of before"})
    with pytest.raises(InputError, match="changed while it was read"):
        data.build_vectors(request)


def settings(**changed):
    return Settings(variants=("hybrid",), queries=100, **changed)


def test_a_file_is_looked_at_before_anything_starts_and_settings_outlive_it(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, vectors(3000))
    asked = settings(dataset=str(path), metric="l2")
    assert (asked.shape().rows, asked.shape().metric) == (2600, "l2")
    path.unlink()
    # a run is closed with the settings it was started with, also when the file is gone by then
    assert Settings.model_validate(asked.model_dump(mode="json")) == asked
    with pytest.raises(InputError, match="there is no file"):
        asked.shape()


def test_a_path_is_taken_from_this_folder_and_this_home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    found = settings(dataset="a.npy", queries_file="~/b.npy", metric="l2")
    assert (found.dataset, found.queries_file) == (str(tmp_path / "a.npy"), str(tmp_path / "home" / "b.npy"))
    assert settings(dataset="").dataset is None
    with pytest.raises(ValidationError, match="home"):
        settings(dataset="~nobody-of-this-name/a.npy", metric="l2")


@pytest.mark.parametrize("changed", [
    {"metric": "l2"}, {"queries_file": "q.npy"}, {"dataset_rows": 5000}, {"skip_zero_rows": True},
])  # fmt: skip
def test_what_belongs_to_a_data_set_is_refused_without_one(changed):
    with pytest.raises(ValidationError, match="dataset is not set. Next step: set it as well, or leave"):
        settings(**changed)


@pytest.mark.parametrize("metric", ["l2", "ip", "cosine"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8"])
def test_what_was_rounded_is_kept_as_the_file_has_it(tmp_path, metric, dtype):
    array = (100 + 25 * vectors(700)).astype(dtype)
    _, dataset = written(tmp_path / "a", source(saved(tmp_path / "a.npy", array), metric=metric))
    rounded = metric == "cosine" or dtype == "float64"
    assert sorted(dataset.original) == (["base", "queries", "tuning"] if rounded else [])
    exact = {name: np.asarray(dataset.exact(name)) for name in ("base", "queries", "tuning")}
    given = [row.tobytes() for row in array.astype(dtype if rounded else np.float32)]
    assert set(given) >= {row.tobytes() for found in exact.values() for row in found}
    for name, found in exact.items():  # row by row the same vectors, in the same order
        measured, original = np.asarray(getattr(dataset, name)), found.astype(np.float64)
        if metric == "cosine":
            original /= np.linalg.norm(original, axis=1, keepdims=True)
        assert measured.dtype == np.float32
        assert np.allclose(measured, original, rtol=2e-7, atol=0)


def test_queries_far_from_the_base_set_the_scale_as_well_and_both_are_moved_alike(tmp_path):
    array, asked = vectors(500), 1e7 * vectors(NEEDED, seed=9)
    path, queries = saved(tmp_path / "a.npy", array), saved(tmp_path / "q.npy", asked)
    facts, dataset = written(tmp_path / "a", source(path, queries_path=queries))
    factor = 2.0 ** facts["scaled_by_two_to_the"]
    assert 2**9 <= factor * np.abs(asked).max() < 2**10
    assert np.array_equal(dataset.base, array * np.float32(factor))
    assert np.array_equal(np.asarray(dataset.exact("base")), array)
    assert np.array_equal(np.asarray(dataset.queries), np.asarray(dataset.exact("queries")) * np.float32(factor))


def test_an_offset_is_taken_from_base_and_queries(tmp_path):
    array = vectors(1000) + np.float32(5000)
    facts, dataset = written(tmp_path / "a", source(saved(tmp_path / "a.npy", array)))
    assert facts["shifted_by_length"] == pytest.approx(5000 * 8**0.5, rel=1e-3)
    shift = np.asarray(dataset.exact("base"), np.float64) - dataset.base
    assert shift == pytest.approx(np.tile(shift[0], (len(shift), 1)), rel=1e-6)
    assert np.asarray(dataset.exact("queries"), np.float64) - dataset.queries == pytest.approx(
        np.tile(shift[0], (QUERIES, 1)), rel=1e-6
    )
