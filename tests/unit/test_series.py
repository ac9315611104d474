"""What makes two records points of one series, and what only annotates them."""

from __future__ import annotations

import random

import pytest
from support.nights import record

from nightgate import registry
from nightgate.facts import Provenance
from nightgate.record import Gpu, Host, Record
from nightgate.series import annotations_of, differing, series_of
from nightgate.suite import BenchmarkSettings


def of(benchmark="hybrid_ann", settings=None, **inputs):
    made = record(1, benchmark=benchmark)
    made.settings = {} if settings is None else settings
    made.facts.inputs = inputs or {"data": "d1"}
    return made


FIELDS = registry.named("hybrid_ann").settings(variants=("hybrid",)).model_dump()


def same(one: Record, two: Record, *scales: str) -> bool:
    first, second = scales or ("smoke", "smoke")
    return series_of(one, first) == series_of(two, second)


@pytest.mark.parametrize("name", ["rows", "k", "recall_target", "seed", "arrival_rate", "threads", "hnsw_m", "batch"])
def test_a_setting_that_shapes_the_work_makes_another_series(name):
    default = FIELDS[name]
    assert not same(of(settings={name: default}), of(settings={name: (default or 0) + 1}))


ASIDE = [
    ("hybrid_ann", "passes", 3, 9), ("hybrid_ann", "processes", 2, 4), ("hybrid_ann", "load_seconds", 2, 0),
    ("hybrid_ann", "variants", ["hybrid"], ["hybrid", "hnsw"]), ("hybrid_ann", "controls", [], ["hnsw"]),
    ("hybrid_ann", "dataset", "/a/sift.hdf5", "/b/sift.hdf5"), ("pgvector_search", "passes", 3, 9),
    ("pgvector_search", "control_passes", 1, 2), ("pgvector_search", "latency_target", 0.03, 0.04),
    ("pgvector_search", "keep", True, False), ("pgvector_search", "require_service", True, False),
    ("transcription", "gpu_variants", [], ["openai-whisper"]), ("transcription", "repeats", 5, 7),
    ("transcription", "batch_repeats", 3, 1), ("transcription", "clips", "/a", "/b"),
]  # fmt: skip


@pytest.mark.parametrize(("benchmark", "name", "one", "other"), ASIDE)
def test_a_setting_that_does_not_is_no_part_of_it(benchmark, name, one, other):
    assert name in registry.named(benchmark).settings.model_fields
    assert same(of(benchmark, {name: one}), of(benchmark, {name: other}))


def test_a_setting_that_came_later_has_its_default():
    assert same(of(settings={"rows": 9000}), of(settings={"rows": 9000, "k": 100, "metric": None}))
    assert not same(of(settings={"rows": 9000}), of(settings={"rows": 9000, "k": 10}))


def test_of_a_benchmark_that_is_gone_what_it_wrote_counts_but_for_the_choice_of_variants():
    assert same(of("gone", {"size": 3, "variants": ["a"]}), of("gone", {"size": 3, "variants": ["b"], "later": None}))
    assert not same(of("gone", {"size": 3}), of("gone", {"size": 4}))


def test_two_records_of_one_series_did_the_same_work():
    """By the other judgement there is, too: `differing`."""
    chance, fields = random.Random(15), FIELDS
    numbers = [
        name for name, default in fields.items() if isinstance(default, int | float) and not isinstance(default, bool)
    ]
    met = set()
    for _ in range(400):
        pair = [
            {name: fields[name] + chance.choice([0, 0, 0, 0, 1]) for name in chance.sample(numbers, 6)}
            for _ in range(2)
        ]
        one, two = (of(settings=settings, data=chance.choice(["d1", "d1", "d2"])) for settings in pair)
        found = differing(one, two)
        assert same(one, two) == (not found), found
        met.add(bool(found))
    assert met == {True, False}


def test_data_and_host_are_part_of_it_and_so_are_suite_scale_benchmark_variant_and_device():
    one = of()
    assert not same(one, of(data="d2"))
    assert not same(one, of(data="d1", queries="q1"))
    assert not same(one, one, "smoke", "full")
    for other in ({"suite": "own"}, {"benchmark": "other"}, {"variant": "hnsw"}, {"device": "gpu"},
                  {"host": Host(fingerprint="x", cpu="a cpu", cores=2, memory_bytes=2**34)}):  # fmt: skip
        assert not same(one, one.model_copy(update=other)), other


def test_the_weights_of_a_model_annotate_a_point_and_so_do_versions_and_kernel():
    one, two = of("transcription", clips="c1", model="m1"), of("transcription", clips="c1", model="m2")
    gpu = Gpu(name="g", memory_bytes=1, driver="580.1", source="nvml")
    two.facts.provenance = Provenance(
        versions={"faiss": "1.13"}, nightgate="1.2", revision="abc", python="3.12", kernel="6.1"
    )
    two.host = two.host.model_copy(update={"gpu_facts": gpu})
    assert same(one, two)
    assert annotations_of(one) == {"model": "m1"}
    assert annotations_of(two) == {
        "model": "m2", "faiss": "1.13", "nightgate": "1.2", "revision": "abc", "python": "3.12", "kernel": "6.1",
        "driver": "580.1",
    }  # fmt: skip


def test_of_another_benchmark_an_input_of_that_name_is_data():
    assert not same(of("hybrid_ann", data="d1", model="m1"), of("hybrid_ann", data="d1", model="m2"))


def test_what_is_aside_stays_so_in_a_model_that_declares_it_anew():
    for benchmark in registry.installed().values():
        model = benchmark.settings
        for base in model.__mro__[1:]:
            if issubclass(base, BenchmarkSettings):
                assert base.aside() <= model.aside(), (model, base)
