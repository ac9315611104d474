"""Recall counted anew: from the answers alone, by trying every row, and how a run is told whose recall is wrong."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest
from support.specs import add
from typer.testing import CliRunner

from nightgate import cli
from nightgate.errors import ArtifactError, InputError, NightgateError, NotMeasured
from nightgate.measure import samples
from nightgate.record import Host, Record, Summary
from nightgate.results import answered, files
from nightgate.results.answered import Answered
from nightgate.results.recount import Recounted, count, recount
from nightgate.vectors import data, own, places, synthetic
from nightgate.vectors.source import Own

HOST = Host(fingerprint="abc", cpu="a cpu", cores=2, memory_bytes=2**34)
METRICS = ("cosine", "l2", "ip")


def in_memory(base, queries, metric, numbers=None, at_once=7):
    numbers = np.arange(len(base)) if numbers is None else numbers

    def blocks():
        for start in range(0, len(base), at_once):
            yield numbers[start : start + at_once], base[start : start + at_once]

    return Answered(metric, queries, blocks)


def ranked(base, queries, metric):
    """The ids from the nearest to the farthest, by plain float64."""
    base, queries = base.astype(np.float64), queries.astype(np.float64)
    if metric == "cosine":
        base, queries = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in (base, queries))
    score = -((queries[:, None] - base) ** 2).sum(axis=-1) if metric == "l2" else queries @ base.T
    return np.argsort(-score, axis=1, kind="stable")


def counted(base, queries, metric, ids, *depths, **options):
    (found,) = count(in_memory(base, queries, metric, **options), [("a", ids, {str(k): k for k in depths})])
    return [found[str(k)] for k in depths]


def random(rows, dim=8, seed=0):
    return np.random.default_rng(seed).standard_normal((rows, dim)).astype(np.float32)


@pytest.mark.parametrize("metric", METRICS)
def test_answers_count_that_are_among_as_many_true_neighbours(metric):
    base, queries = random(300), random(5, seed=1)
    order = ranked(base, queries, metric)
    assert counted(base, queries, metric, order[:, :10], 1, 5, 10) == [1, 1, 1]
    # the nearest is the third answer, one of the first five is no neighbour, two of ten are none
    ids = order[:, [1, 2, 0, 40, 3, 4, 5, 6, 7, 299]]
    assert counted(base, queries, metric, ids, 1, 3, 5, 10) == pytest.approx([0, 1, 4 / 5, 8 / 10])
    ids[:3, 4:] = -1
    assert counted(base, queries, metric, ids, 10) == pytest.approx([(3 * 3 + 2 * 8) / 50])
    assert counted(base, queries, metric, np.full((5, 10), -1), 10) == [0]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("scale, offset", [(1, 0), (1e-12, 0), (1e15, 0), (1, 1000)])
def test_scale_and_offset_cost_no_neighbour(metric, scale, offset):
    base, queries = random(500, 24) + np.float32(offset), random(20, 24, seed=1) + np.float32(offset)
    base, queries = base * np.float32(scale), queries * np.float32(scale)
    queries[7] *= 50  # one far away from all
    order = ranked(base, queries, metric)
    assert counted(base, queries, metric, order[:, :10], 10) == [1]
    assert counted(base, queries, metric, order[:, 10:20], 10) == [0]


def test_equal_rows_tie_and_nothing_else_does():
    base = random(60).repeat(3, axis=0)
    queries = base[:6:3] + np.float32(0.01)
    order = ranked(base, queries, "l2")
    assert counted(base, queries, "l2", order[:, [2]], 1) == [1], "the third of three equal ones"
    for metric in METRICS:
        order = ranked(base, queries, metric)
        assert counted(base, queries, metric, order[:, [0, 1, 2, 5]], 4) == [1]
    near = np.array([[1], [1 + 1e-6], [2]], np.float32)
    assert counted(near, np.zeros((1, 1), np.float32), "l2", np.array([[1]]), 1) == [0], "by far more than a rounding"


def test_what_differs_by_its_length_alone_ties_by_cosine():
    one = np.array([[3, -5, 7, 1, 2, 9, 4, 6]], np.float32)  # whose multiples are exact
    base = np.concatenate([one * np.float32(length) for length in (1, 3, 7, 11, 13)] + [random(20, seed=1)])
    for answer in range(6):
        assert counted(base, one * np.float32(17), "cosine", np.array([[answer]]), 1) == [answer < 5]


def test_products_that_cancel_tie_by_what_float64_tells_apart():
    base = np.array([[1e8, -1e8, 1], [-1e8, 1e8, 1], [1e8, -1e8, 0]], np.float32)
    query = np.array([[1e8, 1e8, 1]], np.float32)
    assert [counted(base, query, "ip", np.array([[row]]), 1)[0] for row in range(3)] == [1, 1, 1]
    query = np.array([[1, 1, 1]], np.float32)
    assert [counted(base, query, "ip", np.array([[row]]), 1)[0] for row in range(3)] == [1, 1, 0]


@pytest.mark.parametrize("at_once", [1, 50, 1000])
def test_blocks_queries_and_numbers_change_nothing(monkeypatch, at_once):
    monkeypatch.setattr("nightgate.results.recount._QUERIES", 3)
    base, queries = random(200), random(10, seed=1)
    numbers = np.arange(200) * 2 + 5
    ids = numbers[ranked(base, queries, "l2")[:, [0, 3, 1, 2, 150]]]
    found = counted(base, queries, "l2", ids, 1, 2, 5, numbers=numbers, at_once=at_once)
    assert found == pytest.approx([1, 1 / 2, 4 / 5])


def test_all_who_answered_are_counted_by_one_search():
    base, queries = random(100), random(4, seed=1)
    order, passes = ranked(base, queries, "l2"), []
    vectors = in_memory(base, queries, "l2")
    once = Answered("l2", queries, lambda: passes.append(1) or vectors.blocks())
    wide, narrow = order[:, [0, 1, 2, 60]], order[:, [50, 1]]
    found = count(once, [("a", wide, {"x": 4, "y": 1}), ("b", narrow, {"x": 2})])
    assert found == [{"x": 0.75, "y": 1}, {"x": 0.5}]
    assert len(passes) == 1
    narrow[3, 1] = 100
    with pytest.raises(NotMeasured, match="b: a query was answered with 100"):
        count(once, [("a", wide, {"x": 4}), ("b", narrow, {"x": 2})])


def test_what_is_no_answer_is_refused():
    base, queries = random(50), random(2, seed=1)
    with pytest.raises(NotMeasured, match="a: a query was answered with 50, which is no row that was searched"):
        counted(base, queries, "l2", np.array([[0, 1], [2, 50]]), 2)
    with pytest.raises(NotMeasured, match="answered with 4, which is no row"):
        counted(base, queries, "l2", np.array([[4, 6], [5, 7]]), 2, numbers=np.arange(50) * 2 + 5)
    with pytest.raises(NotMeasured, match="the same id twice"):
        counted(base, queries, "l2", np.array([[0, 1], [2, 2]]), 2)
    assert counted(base, queries, "l2", np.array([[-1, -1], [-1, -1]]), 2) == [0]
    with pytest.raises(NotMeasured, match="answers are 2 long, too short for 3"):
        counted(base, queries, "l2", np.array([[0, 1], [2, 3]]), 3)
    with pytest.raises(NotMeasured, match="answers to 1 queries and 2 queries"):
        counted(base, queries, "l2", np.array([[0, 1]]), 2)


def test_a_difference_up_to_two_thousandths_agrees():
    agree = [Recounted("b", "v", "cpu", "m", 0.9, found).agrees for found in (0.9, 0.9019, 0.8981, 0.9021, 0.8979)]
    assert agree == [True, True, True, False, False]
    assert Recounted("b", "v", "cpu", "m", 0.5, 0.75).difference == 0.25


def test_the_first_stretches_are_short_and_all_rows_are_in_one(monkeypatch):
    monkeypatch.setattr(answered, "_FIRST", 2)
    monkeypatch.setattr(answered, "_MOST", 5)
    assert list(answered._stretches(17)) == [(0, 2), (2, 4), (4, 8), (8, 13), (13, 17)]
    assert list(answered._stretches(0)) == []


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Makes a run with its files: each record with its answers and recalls."""
    monkeypatch.setenv("NIGHTGATE_RUNS", str(tmp_path / "runs"))

    def made(*records):
        summary = Summary(
            run_id="r",
            dag_id="d",
            scale="smoke",
            state="pass",
            started_at="2026-11-22T02:00:00.000Z",
            finished_at="2026-11-22T02:01:00.000Z",
            host=HOST,
            results=[record for record, _ in records],
        )
        files.write_summary(summary)
        for benchmark in {record.benchmark for record, _ in records}:
            arrays = {
                f"{record.variant}/{name}": array
                for record, raw in records
                if record.benchmark == benchmark
                for name, array in raw.items()
            }
            samples.save(tmp_path / "runs" / "r" / f"{benchmark}-cpu.npz", arrays)
        return summary

    return made


def record(variant, recalls, raw, settings, facts, benchmark="hybrid_ann"):
    made = Record(
        benchmark=benchmark,
        variant=variant,
        device="cpu",
        status="measured",
        settings=settings,
        facts={"vectors": facts},
        samples=f"{benchmark}-cpu.npz",
    )
    add(made, "latency_p95", 0.001)
    for name, value in recalls.items():
        add(made, name, value)
    return made, raw


SYNTHETIC = {"rows": 2000, "dim": 16, "queries": 100, "seed": 3}


def answers_of(folder, k):
    base, queries = np.load(folder / "base.npy"), np.load(folder / "queries.npy")
    return ranked(base, queries, "cosine")[:, :k]


@pytest.fixture
def of_seed(tmp_path):
    """Two benchmarks on synthetic vectors, of which one names its hardness; every tenth answer is wrong."""
    made = []
    for benchmark, k, hardness in (("hybrid_ann", 10, 0.8), ("pgvector_search", 5, 0.5)):
        folder = tmp_path / benchmark
        folder.mkdir()
        facts = synthetic.write(folder, **SYNTHETIC, hardness=hardness)
        ids = answers_of(folder, 1000)[:, :k].copy()
        ids[::10, -1] = answers_of(folder, 1000)[::10, 900]
        settings = SYNTHETIC | ({"hardness": hardness} if hardness != 0.5 else {})
        made.append((benchmark, k, ids, settings, facts))
    return made


def test_a_run_on_synthetic_vectors_is_recounted_from_its_seed(run, of_seed):
    records = []
    for benchmark, k, ids, settings, facts in of_seed:
        recalls = {f"recall_at_{k}": 1 - 0.1 / k, "recall_at_1": 1.0} if k == 10 else {"recall_at_5": 0.9}
        records.append(record("a", recalls, {"ids": ids}, settings, facts, benchmark))
    found = recount(run(*records))
    assert [(one.benchmark, one.metric) for one in found] == [
        ("hybrid_ann", "recall_at_10"),
        ("hybrid_ann", "recall_at_1"),
        ("pgvector_search", "recall_at_5"),
    ]
    assert [one.recounted for one in found] == pytest.approx([0.99, 1.0, 0.98])
    assert [one.recorded for one in found] == [0.99, 1.0, 0.9]
    assert [one.agrees for one in found] == [True, True, False]


def test_vectors_are_made_once_for_all_variants(run, of_seed, monkeypatch):
    _, _, ids, settings, facts = of_seed[0]
    calls = []
    write = synthetic.write
    monkeypatch.setattr(answered.generator, "write", lambda *a, **k: calls.append(k) or write(*a, **k))
    again = ids[:, ::-1]
    fewer = settings | {"queries": 99}  # quite other queries, though what is told of the data is the same
    found = recount(
        run(
            record("a", {"recall_at_10": 0.99}, {"ids": ids}, settings, facts),
            record("c", {"recall_at_10": 0.99}, {"ids": ids[:99]}, fewer, facts),
            record("b", {"recall_at_1": 0.0}, {"ids": again}, settings, facts),
        )
    )
    assert [(one.variant, one.agrees) for one in found] == [("a", True), ("c", False), ("b", True)]
    assert [call["queries"] for call in calls] == [100, 99]


FORMATS = ("npy", "csv", "fbin")


def put(path, array):
    if path.suffix == ".npy":
        np.save(path, array)
    elif path.suffix == ".csv":
        np.savetxt(path, array, delimiter=",", fmt="%.9g")
    else:
        path.write_bytes(struct.pack("<II", *array.shape) + array.tobytes())
    return path


@pytest.fixture
def of_file(tmp_path):
    """A user's file as it is measured: its record and samples, with the answers in the row numbers of the file."""

    def made(suffix="npy", metric="cosine", queries=None, zero=(), rows=None, **settings):
        array = random(700, 6) + np.float32(0.5)
        array[list(zero)] = 0
        path = put(tmp_path / f"mine.{suffix}", array)
        asked = put(tmp_path / f"asked.{suffix}", queries) if queries is not None else None
        source = Own(
            str(path), 50, 1, 100, queries_path=asked and str(asked), metric=metric, rows=rows, skip_zero=bool(zero)
        )
        folder = tmp_path / "vectors"
        folder.mkdir(exist_ok=True)
        facts = data._names(source) | own.write(folder, source)
        base, wanted = np.load(folder / "base.npy"), np.load(folder / "queries.npy")
        kept = places.open_places(folder)
        ids = kept.in_file_order(ranked(base, wanted, metric)[:, :10])
        raw = {"ids": ids, "query_rows": np.array(kept.queries), "held_out": np.array(kept.held_out)}
        settings = {"dataset": str(path), "queries_file": asked and str(asked), "dataset_rows": rows} | settings
        return record("a", {"recall_at_10": 1.0}, raw, settings | {"skip_zero_rows": bool(zero)}, facts)

    return made


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("suffix", FORMATS)
def test_a_run_on_a_file_is_recounted_in_the_order_of_its_rows(run, of_file, suffix, metric):
    one, raw = of_file(suffix, metric)
    assert [found.recounted for found in recount(run((one, raw)))] == [1.0]
    # a row further on is no neighbour, and would be found right if rows held out were counted
    wrong = raw | {"ids": np.where(raw["ids"] < 600, raw["ids"] + 1, raw["ids"])}
    with pytest.raises(NotMeasured, match="which is no row that was searched"):
        recount(run((one, wrong)))


def test_a_file_of_float64_is_compared_as_it_is(run, tmp_path):
    """In float32 these rows would all be one."""
    array = 1e9 + np.random.default_rng(0).standard_normal((700, 6))
    np.save(tmp_path / "mine.npy", array)
    source, folder = Own(str(tmp_path / "mine.npy"), 50, 1, 100, metric="l2"), tmp_path / "vectors"
    folder.mkdir()
    facts = data._names(source) | own.write(folder, source)
    kept = places.open_places(folder)
    base, asked = array[kept.base], array[kept.queries[:, 1]]
    ids = kept.in_file_order(ranked(base, asked, "l2")[:, :10])
    raw = {"ids": ids, "query_rows": np.array(kept.queries), "held_out": np.array(kept.held_out)}
    assert recount(run(record("a", {"recall_at_10": 1.0}, raw, {"dataset": source.path}, facts)))[0].recounted == 1.0


def test_rows_left_out_few_rows_and_queries_from_both_files(run, of_file):
    asked = random(30, 6, seed=4)
    found = recount(run(of_file(zero=(0, 3, 100, 350), queries=asked, rows=150)))
    assert [one.recounted for one in found] == [1.0]
    one, raw = of_file(zero=(0, 3, 100, 350), queries=asked, rows=150)
    raw["ids"][:, 0] = 3
    with pytest.raises(NotMeasured, match="answered with 3, which is no row that was searched"):
        recount(run((one, raw)))


def test_a_row_behind_the_first_that_were_used_was_not_searched(run, of_file):
    one, raw = of_file(rows=150)
    assert raw["ids"].max() < 550
    raw["ids"][0, 0] = 690
    with pytest.raises(NotMeasured, match="answered with 690"):
        recount(run((one, raw)))


def test_a_file_is_found_where_it_lies_now_and_must_be_the_same(run, of_file, tmp_path):
    queries = random(400, 6, seed=4)
    summary = run(of_file(queries=queries))
    moved = (tmp_path / "mine.npy").rename(tmp_path / "moved.npy")
    with pytest.raises(
        InputError, match=r"there is no file .*mine.npy. Next step: name where it lies now: --dataset FILE"
    ):
        recount(summary)
    assert recount(summary, moved)[0].agrees
    asked = (tmp_path / "asked.npy").rename(tmp_path / "other.npy")
    with pytest.raises(InputError, match="Next step: name where it lies now: --queries-file FILE"):
        recount(summary, moved)
    assert recount(summary, moved, asked)[0].agrees
    with pytest.raises(InputError, match="other.npy is not what was measured: its SHA-256 is"):
        recount(summary, asked)
    with pytest.raises(InputError, match="moved.npy is not what was measured"):
        recount(summary, moved, moved)


def test_what_is_missing_is_said(run, of_seed, of_file, tmp_path):
    _, _, ids, settings, facts = of_seed[0]

    def synthetic_run(raw=None, facts=facts, **changed):
        one, raw = record("a", {"recall_at_10": 1.0}, raw if raw is not None else {"ids": ids}, settings, facts)
        return run((one.model_copy(update=changed), raw))

    with pytest.raises(ArtifactError, match="holds no answers of a. Next step: measure again"):
        recount(synthetic_run({"recall": np.ones(3)}))
    with pytest.raises(ArtifactError, match="a kept no samples"):
        recount(synthetic_run(samples=None))
    with pytest.raises(NotMeasured, match="have the format 1 and this version makes"):
        recount(synthetic_run(facts=facts | {"format": 1}))
    summary = synthetic_run()
    (tmp_path / "runs" / "r" / "hybrid_ann-cpu.npz").unlink()
    with pytest.raises(ArtifactError, match="there are no samples"):
        recount(summary)
    for without in ("failed", "skipped"):
        with pytest.raises(InputError, match="run r measured no recall"):
            recount(synthetic_run(status=without))
    with pytest.raises(InputError, match="--dataset x.npy: this run was measured without such a file"):
        recount(synthetic_run(), tmp_path.__class__("x.npy"))
    one, raw = of_file()
    with pytest.raises(InputError, match="--queries-file x.npy: this run was measured without such a file"):
        recount(run((one, raw)), None, tmp_path.__class__("x.npy"))
    for missing in ("query_rows", "held_out"):
        with pytest.raises(ArtifactError, match="do not say where its queries stood"):
            recount(run((one, {name: raw[name] for name in raw if name != missing})))
    for which, row in ((places.QUERIES_FILE, 0), (places.BASE_FILE, 700), (places.BASE_FILE, -1)):
        torn = raw["query_rows"].copy()
        torn[0] = which, row
        with pytest.raises(ArtifactError, match=f"the samples name row {row} as a query"):
            recount(run((one, raw | {"query_rows": torn})))


def test_no_room_for_the_vectors_is_said_before_they_are_made(run, of_seed, monkeypatch):
    _, _, ids, settings, facts = of_seed[0]
    monkeypatch.setattr(answered.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 2000 * 16 * 4})())
    with pytest.raises(NotMeasured, match="and the vectors take 0.0 GB. Next step: free some space or point TMPDIR"):
        recount(run(record("a", {"recall_at_10": 1.0}, {"ids": ids}, settings, facts)))


def nightgate(*words):
    done = CliRunner().invoke(cli.app, ["results", "recount", *words])
    if isinstance(done.exception, NightgateError):
        raise done.exception
    return done


def test_the_command_shows_both_and_ends_with_whether_they_agree(run, of_seed):
    _, _, ids, settings, facts = of_seed[0]
    run(record("a", {"recall_at_10": 0.9915, "recall_at_1": 1.0}, {"ids": ids}, settings, facts))
    done = nightgate("r")
    assert done.exit_code == 0
    said = " ".join(done.output.split())
    assert "Hybrid ANN a on cpu Recall@10 0.99150 0.99000 −0.00150" in said
    assert "every recall is what its answers give, within 0.002" in said
    run(record("a", {"recall_at_10": 0.5, "recall_at_1": 1.0}, {"ids": ids}, settings, facts))
    done = nightgate("r")
    assert done.exit_code == 1
    assert "Recall@10 0.50000 0.99000 +0.49000" in " ".join(done.output.split())
    assert "1 of 2 recalls are not what their answers give: they differ by more than 0.002" in " ".join(
        done.output.split()
    )
    done = nightgate("r", "--json")
    assert done.exit_code == 1
    wrong, right = json.loads(done.stdout)
    assert wrong == {
        "benchmark": "hybrid_ann",
        "variant": "a",
        "device": "cpu",
        "metric": "recall_at_10",
        "recorded": 0.5,
        "recounted": pytest.approx(0.99),
        "difference": pytest.approx(0.49),
        "agrees": False,
    }
    assert right["agrees"] is True
    with pytest.raises(InputError, match="there is no run 'q'"):
        nightgate("q")
