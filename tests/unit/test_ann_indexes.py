"""What an index is kept under, and what is told of one that an earlier run built; the builders are replaced."""

from __future__ import annotations

import fcntl
import shutil
from importlib.metadata import version
from pathlib import Path

import pytest

from nightgate import versions
from nightgate.artifacts import Cache, store
from nightgate.artifacts import Settings as CacheSettings
from nightgate.benchmark import Context
from nightgate.hybrid_ann import indexes, measuring, preparing, strategies
from nightgate.hybrid_ann.indexes import BuiltIndex
from nightgate.hybrid_ann.plugin import BENCHMARK
from nightgate.hybrid_ann.prepared import HybridPrepared
from nightgate.hybrid_ann.settings import Settings
from nightgate.measure.child import ChildResult
from nightgate.publish.cards import cards
from nightgate.record import Host, Summary
from nightgate.vectors.prepared import DataFacts, PreparedData

NAMES = {index.name: index for strategy in ("hybrid_seeded",) for index in strategies.on("cpu", strategy).indexes()}


@pytest.fixture
def built(monkeypatch):
    """The steps that were done, in their order; the n-th takes n seconds."""
    done = []

    def run_child(function, request, *, threads):
        done.append((function.__name__, request.index.name, str(request.vectors), threads))
        (request.folder / "graph").write_text(request.index.name)
        return ChildResult({"lists": 16}, 100 * len(done), float(len(done)))

    monkeypatch.setattr(indexes, "run_child", run_child)
    return done


@pytest.fixture
def library(monkeypatch):
    """Change what is installed."""
    there = {"faiss-cpu": "1.15.1", "nmslib": "2.1.2", "numpy": "2.4.6"}
    names = {"faiss": "faiss-cpu", "nmslib": "nmslib", "numpy": "numpy"}
    monkeypatch.setattr(indexes, "installed", lambda *packages: {names[p]: there[names[p]] for p in packages})
    return there


def index(cache, name="ivfpq", vectors="abc", threads=1, **given):
    data = PreparedData(
        vectors=cache.root / "vectors" / vectors, truth=cache.root, data=DataFacts(rows=5, dim=3, digest=vectors)
    )
    asked = Settings(variants=("hybrid",), **given)
    parameters = {
        "threads": threads, "m": asked.hnsw_m, "ef_construction": asked.hnsw_ef_construction,
        "rows_per_list": asked.rows_per_list,
    }  # fmt: skip
    return indexes.build_index(NAMES[name], data, parameters, cache)


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path / "cache", CacheSettings())


@pytest.mark.parametrize(("name", "steps"), [("ivfpq", ["train", "build"]), ("hnsw", ["build"])])
def test_an_upgrade_of_the_library_makes_a_new_index(cache, built, library, name, steps):
    first = index(cache, name)
    assert index(cache, name).folder == first.folder and [one[0] for one in built] == steps
    for package in ("nmslib" if name == "hnsw" else "faiss-cpu", "numpy"):
        built.clear()
        library[package] += ".1"
        upgraded = index(cache, name)
        assert [one[0] for one in built] == steps and upgraded.folder != first.folder
    library["faiss-cpu" if name == "hnsw" else "nmslib"] += ".2"
    assert index(cache, name).folder == upgraded.folder, "what did not build it is nothing to it"


def test_all_that_shapes_an_index_is_in_its_key_and_no_place(cache, built, library, tmp_path):
    index(cache), index(cache, "hnsw")
    for changed in ({"vectors": "abd"}, {"threads": 2}, {"rows_per_list": 20}):
        built.clear()
        index(cache, **changed)
        assert [one[0] for one in built] == ["train", "build"], changed
    for changed in ({"hnsw_m": 5}, {"hnsw_ef_construction": 50}):
        built.clear()
        index(cache, "hnsw", **changed)
        assert [one[0] for one in built] == ["build"], changed
    built.clear()
    shutil.copytree(cache.root, tmp_path / "moved")
    moved = Cache(tmp_path / "moved", CacheSettings())
    assert index(moved).reused and index(moved, "hnsw").reused and built == []


def test_each_step_has_the_host_to_itself(cache, library, tmp_path, monkeypatch):
    monkeypatch.setenv("NIGHTGATE_LOCK", str(tmp_path / "measure.lock"))
    free = []

    def run_child(_, request, *, threads):
        (request.folder / "graph").touch()
        with open(tmp_path / "measure.lock") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                free.append(False)
            else:
                free.append(True)
        return ChildResult({}, 1, 1.0)

    monkeypatch.setattr(indexes, "run_child", run_child)
    index(cache)
    assert free == [False, False], "its seconds would be those of a host that did something else besides"


def test_seconds_of_an_earlier_build_come_with_their_date(cache, built, library, monkeypatch):
    seconds = iter(range(10, 60))
    monkeypatch.setattr(store, "utc_now", lambda: f"2026-11-24T02:00:{next(seconds)}.000Z")
    first = index(cache)
    assert (first.build_seconds, first.build_peak_rss_bytes, first.reused) == (3.0, 200, False)
    assert index(cache) == first.model_copy(update={"reused": True})
    manifest = {artifact.path: artifact.built_at for artifact in cache.entries()}
    assert first.built_at == min(manifest.values()) < manifest[first.folder], "the training was first"
    shutil.rmtree(first.folder)
    half = index(cache)
    assert (half.build_seconds, half.reused) == (4.0, True), "its training is of the earlier run"
    assert half.built_at == first.built_at


def test_the_record_and_the_report_say_the_day(tmp_path):
    def at(day, reused):
        return BuiltIndex(
            folder=Path("/x"), bytes=7, build_seconds=3.0, build_peak_rss_bytes=5,
            built_at=f"2026-11-{day}T02:00:00.000Z", reused=reused,
        )  # fmt: skip

    def record(variant, **built):
        prepared = HybridPrepared(
            vectors=Path("/v"), truth=Path("/t"), data=DataFacts(rows=5, dim=3, digest="d"), indexes=built
        )
        context = Context("cpu", None, samples=tmp_path / "s.npz")
        one = BENCHMARK.evidence(Settings(variants=("hybrid",)), variant, prepared, context, gated=True)
        measuring._add_costs(one, strategies.on("cpu", variant), prepared)
        for spec, value in one.costs.items():
            one.record.add(spec, value)
        return one.record

    old = record("hybrid_seeded", ivfpq=at(20, True), hnsw=at(22, True))
    assert old.facts.earlier == dict.fromkeys(("build_seconds", "build_peak_rss_bytes"), "2026-11-20T02:00:00.000Z")
    new = record("hnsw", hnsw=at(25, False))
    assert new.facts.earlier == {}
    host = Host(fingerprint="abc", cpu="a cpu", cores=2, memory_bytes=2**34)
    summary = Summary(
        run_id="r", dag_id="d", scale="smoke", state="pass", started_at="s", finished_at="f", host=host,
        results=[old, new],
    )  # fmt: skip
    (card,) = cards(summary, tmp_path)
    rows = dict(next(section["rows"] for section in card["sections"] if section["heading"] == "Cost"))
    assert rows["Build"] == ["3.00 s", "6.00 s (2026-11-20)"], [record.variant for record in card["records"]]
    assert sum("2026" in "".join(cells) for cells in rows.values()) == 2, "how large an index is depends on no day"


def test_versions_are_those_of_what_is_installed():
    assert versions.installed("numpy", "nosuch") == {"numpy": version("numpy")}


@pytest.fixture
def anew(monkeypatch, tmp_path):
    """Prepares a data set of which nothing is kept but its indexes; what each child was asked is in the second."""
    asked = []

    def run_child(function, request, *, threads):
        asked.append((function.__name__, request.index.name, request.folder, dict(request.parameters), request.trained))
        (request.folder / "graph").write_text("seven b")
        return ChildResult({"lists": 16}, 100, 2.0)

    monkeypatch.setattr(indexes, "run_child", run_child)
    found = PreparedData(vectors=tmp_path, truth=tmp_path, data=DataFacts(rows=5, dim=3, digest="d"))
    monkeypatch.setattr(preparing.data, "prepare", lambda cache, **_: found)
    return asked


def test_to_confirm_an_index_is_built_anew_with_another_seed_and_kept_nowhere(anew, cache, tmp_path):
    settings = Settings(variants=("hybrid", "hnswlib"), controls=("hnsw",), threads=2)
    kept = BENCHMARK.prepare(settings, Context("cpu", cache))
    assert {parameters.get("seed") for *_, parameters, _ in anew} == {None}
    anew.clear()
    context = Context("cpu", cache, samples=tmp_path / "run" / "hybrid_ann-cpu-confirm2.npz", fresh=2)
    found = BENCHMARK.prepare(settings, context)
    folder = tmp_path / "run" / "hybrid_ann-cpu-confirm2-indexes"
    own = {"rows_per_list": 128, "seed": 3}
    assert [one for one in anew if one[1] == "ivfpq"] == [
        ("train", "ivfpq", folder / "ivfpq-trained", {"threads": 2, **own}, None),
        ("build", "ivfpq", folder / "ivfpq", {"threads": 2}, folder / "ivfpq-trained"),
    ]
    ((_, _, made, parameters, _),) = [one for one in anew if one[1] == "hnswlib"]
    assert (made, parameters["seed"]) == (folder / "hnswlib", 3)
    assert not [one for one in anew if one[1] == "hnsw"], "a control is not confirmed"
    assert found.indexes["hnsw"].folder == kept.indexes["hnsw"].folder
    index = found.indexes["ivfpq"]
    assert (index.bytes, index.build_seconds, index.reused, index.facts) == (7, 4.0, False, {"lists": 16})
    assert len(cache.entries()) == 4, "the cache holds what it held"
    anew.clear()
    BENCHMARK.prepare(settings, context)
    assert len(anew) == 3, "once more, it is built once more"
    BENCHMARK.tidy(settings, Context("cpu", cache, samples=context.samples))
    assert folder.exists(), "of another measurement"
    BENCHMARK.tidy(settings, context)
    assert not folder.exists() and kept.indexes["ivfpq"].folder.exists()


def test_what_was_built_anew_goes_away_with_its_measurement(anew, cache, tmp_path, monkeypatch):
    settings = Settings(variants=("hybrid",))
    context = Context("cpu", cache, samples=tmp_path / "s.npz", fresh=1)
    prepared = BENCHMARK.prepare(settings, context)
    seen = []

    def measure(*_):
        seen.append(prepared.indexes["ivfpq"].folder.exists())
        raise KeyboardInterrupt

    monkeypatch.setattr(measuring, "measure", measure)
    with pytest.raises(KeyboardInterrupt):
        BENCHMARK.measure(settings, prepared, context)
    assert seen == [True] and not prepared.indexes["ivfpq"].folder.exists()


def test_a_confirming_run_asks_for_what_is_to_be_confirmed():
    settings = Settings(variants=("hybrid",), controls=("hnsw",), load_seconds=3)
    asked = BENCHMARK.to_confirm(settings, ("latency_p95", "recall_at_100"))
    assert (asked.variants, asked.controls, asked.load_seconds) == (("hybrid",), (), 0)
    for metric in ("throughput_qps", "open_loop_p95"):
        assert BENCHMARK.to_confirm(settings, ("latency_p95", metric)).load_seconds == 3
