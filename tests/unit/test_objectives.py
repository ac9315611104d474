"""A limit that makes no sense is a slip, in the suite with its line and for one run by its path."""

from __future__ import annotations

import re

import pytest
from support.specs import all_specs

from nightgate import paths, registry
from nightgate.errors import InputError
from nightgate.objectives import limit_of, not_judged
from nightgate.suite import Limit, load_suite

SHIPPED = paths.suite_file().read_text()
HYBRID, PGVECTOR, P95 = (
    SHIPPED[: SHIPPED.index(f"    {limit}")].count("\n") + 1
    for limit in ("recall_at_100", "recall_at_5", "latency_p95: {ivfflat")
)


def shipped(tmp_path, text=SHIPPED, overrides=None):
    file = tmp_path / "nightly.yaml"
    file.write_text(text)
    return load_suite(file, registry.installed(), "smoke", overrides)


def of_the_hybrid(tmp_path, line, **more):
    """The shipped suite with this one objective of the hybrid, on the line `HYBRID`."""
    two = '    recall_at_100: ">= 0.92"\n    latency_p95: "< 0.020"\n'
    assert two in SHIPPED
    return shipped(tmp_path, SHIPPED.replace(two, f"    {line}\n"), **more)


def test_the_shipped_suite_makes_sense(tmp_path):
    objectives = shipped(tmp_path).objectives
    assert objectives["hybrid_ann"]["recall_at_100"] == dict.fromkeys(("cpu", "gpu"), Limit(op=">=", limit=0.92))
    pgvector = objectives["pgvector_search"]
    assert list(pgvector["latency_p50"]) == ["cpu"], "it has no other device"
    assert pgvector["latency_p95"] == {"ivfflat_halfvec": Limit(op="<", limit=0.03)}, "pgvector 0.6 has no halfvec"


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        ("recall_at_100: \">= 1.7\"", "recall_at_100 is always between 0 and 1, and the limit is 1.7"),
        ("recall_at_100: \">= -0.1\"", "between 0 and 1, and the limit is -0.1"),
        ("recall_at_100: \"> 1\"", "recall_at_100 can never be > 1"),
        ("recall_at_100: \"<= 0.9\"", "recall_at_100 is better the higher it is, and <= 0.9 asks for the opposite.*write >= or >"),
        ("route_recall: \"< 0.5\"", "route_recall is better the higher"),
        ("qps: \"<= 100\"", "qps is better the higher"),
        ("qps: \">= -1\"", "qps is always 0 or more, and the limit is -1"),
        ("latency_p99: \"< -1\"", "latency_p99 is always 0 or more, and the limit is -1"),
        ("latency_p99: \"< 0\"", "latency_p99 can never be < 0"),
        ("latency_p99: \"<= 0\"", "latency_p99 can never be <= 0"),
        ("latency_p99: \">= 0.1\"", "latency_p99 is better the lower it is, and >= 0.1 asks for the opposite.*write <= or <"),
        ("index_bytes: \"> 1\"", "index_bytes is better the lower"),
        ("latency_p99: \"< .nan\"", "' .nan' is not a number"),
        ("latency_p99: \"< nan\"", "the limit must be finite"),
        ("latency_p99: \"< -inf\"", "the limit must be finite"),
        ("latency_p99: true", "True is not an objective"),
        ("latency_p99: \"< true\"", "' true' is not a number"),
        ("wer: \"<= 0.1\"", "objectives.hybrid_ann has no key 'wer'"),
        ("recall_at_5: \">= 0.1\"", "the objective hybrid_ann.recall_at_5 cannot be judged, because this run measures recall_at_1, recall_at_10, "),
        ("latency_p99: {tpu: \"< 1\"}", "objectives.hybrid_ann.latency_p99 has no key 'tpu'"),
    ],
)  # fmt: skip
def test_nonsense_in_the_suite_is_refused_with_its_line(tmp_path, limit, message):
    with pytest.raises(InputError, match=message) as refused:
        of_the_hybrid(tmp_path, limit)
    assert refused.value.what.startswith(f"nightly.yaml line {HYBRID}: ")


def test_a_device_that_a_benchmark_has_not_cannot_have_an_objective(tmp_path):
    text = SHIPPED.replace('    recall_at_5: ">= 0.90"', '    recall_at_5: {gpu: ">= 0.90"}')
    with pytest.raises(
        InputError, match=rf"line {PGVECTOR}: objectives.pgvector_search.recall_at_5 has no key 'gpu'.*use one of cpu"
    ):
        shipped(tmp_path, text)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("hybrid_ann.recall_at_100", 1.7, "between 0 and 1, and the limit is 1.7"),
        ("hybrid_ann.recall_at_100.cpu", "< 0.9", "asks for the opposite"),
        ("hybrid_ann.latency_p95", -1, "0 or more, and the limit is -1"),
        ("hybrid_ann.latency_p95.cpu", 0, "can never be < 0"),
        ("transcription.wer", -1, "0 or more, and the limit is -1"),
        ("transcription.wer", "< 0", "wer can never be < 0"),
        ("transcription.xrt.cpu", 0, "xrt can never be <= 0"),
        ("transcription.xrt.cpu", -2, "0 or more"),
        ("transcription.xrt.gpu", float("nan"), "must be finite"),
        ("transcription.xrt.gpu", float("inf"), "must be finite"),
        ("transcription.xrt.gpu", "<= inf", "must be finite"),
        ("transcription.xrt.gpu", True, "True is not a number"),
        ("transcription.xrt.gpu", False, "False is not a number"),
        ("pgvector_search.latency_p95.gpu", None, "there is no device or variant 'gpu'"),
        ("pgvector_search.latency_p95.ivfflat_halfvecc", "< 0.03", "no device or variant 'ivfflat_halfvecc'; did you mean 'ivfflat_halfvec'"),
        ("pgvector_search.latency_p95.ivfflat", 0.03, "no objective on latency_p95 of ivfflat, and 0.03 has no operator.*\"<= 0.03\""),
        ("pgvector_search.latency_p95.ivfflat", None, "there is no device or variant 'ivfflat'"),
        ("pgvector_search.latency_p95.cpu.ivfflat", 1, "a path is objectives.BENCHMARK.METRIC, with .DEVICE or .VARIANT"),
        ("transcription.xrt.gpu", [0.5], r"\[0.5\] is not a number"),
        ("transcription.xrt.gpu", 10**400, "is not a number"),
        ("pgvector_search.latency_p95.gpu", 0.03, "there is no device or variant 'gpu'"),
    ],
)  # fmt: skip
def test_nonsense_for_one_run_is_refused_by_its_path(tmp_path, path, value, message):
    with pytest.raises(InputError, match=message) as refused:
        shipped(tmp_path, overrides={f"objectives.{path}": value})
    assert refused.value.what.startswith(f"--set objectives.{path}:")


def test_the_edges_are_allowed(tmp_path):
    edges = {
        "objectives.hybrid_ann.recall_at_100": 1, "objectives.transcription.wer": 0, "objectives.hybrid_ann.latency_p95": 1e-9,
        "objectives.pgvector_search.recall_at_5": "> 0.999", "objectives.transcription.xrt.cpu": "< 3",
    }  # fmt: skip
    found = shipped(tmp_path, overrides=edges).objectives
    assert found["hybrid_ann"]["recall_at_100"]["gpu"] == Limit(op=">=", limit=1)
    assert found["transcription"]["wer"]["cpu"] == Limit(op="<=", limit=0)
    assert found["hybrid_ann"]["latency_p95"]["cpu"] == Limit(op="<", limit=1e-9)
    assert found["pgvector_search"]["recall_at_5"]["cpu"] == Limit(op=">", limit=0.999)
    assert found["transcription"]["xrt"] == {"cpu": Limit(op="<", limit=3), "gpu": Limit(op="<=", limit=0.5)}


# an objective of one variant


def of_pgvector(tmp_path, line, variants="[ivfflat_halfvec]", **more):
    """The shipped suite with this objective on P95 of pgvector, on the line `P95`, and these gated variants."""
    text = re.sub(r"    latency_p95: \{ivfflat_halfvec.*\n.*\n", f"    {line}\n", SHIPPED)
    return shipped(tmp_path, text.replace("variants: [ivfflat_halfvec]", f"variants: {variants}"), **more)


def test_a_limit_can_be_of_a_device_and_of_a_variant(tmp_path):
    found = of_pgvector(tmp_path, 'latency_p95: {cpu: "< 0.05", ivfflat_halfvec: "< 0.03"}').objectives
    limits = found["pgvector_search"]["latency_p95"]
    assert (limit_of(limits, "ivfflat_halfvec", "cpu"), limit_of(limits, "ivfflat", "cpu")) == (
        Limit(op="<", limit=0.03), Limit(op="<", limit=0.05),
    )  # fmt: skip
    assert limit_of(limits, "ivfflat_halfvec", "gpu") == Limit(op="<", limit=0.03), "it is of every device"
    assert limit_of(limits, "ivfflat", "gpu") is None


@pytest.mark.parametrize(("typo", "meant"), [("ivfflat_halfvek", "ivfflat_halfvec"), ("cpuu", "cpu"), ("hnws", "hnsw")])
def test_a_typo_is_answered_with_the_nearest_device_or_variant(tmp_path, typo, meant):
    with pytest.raises(
        InputError, match=rf"line {P95}: objectives.pgvector_search.latency_p95 has no key '{typo}'.*'{meant}'"
    ):
        of_pgvector(tmp_path, f'latency_p95: {{{typo}: "< 0.03"}}')


@pytest.mark.parametrize("variant", ["hnsw", "ivfflat_halfvec_lists1000"])  # the second is a control
def test_an_objective_on_a_variant_that_does_not_gate_is_refused(tmp_path, variant):
    with pytest.raises(
        InputError,
        match=f"line {P95}: the objective pgvector_search.latency_p95 of {variant} is never judged, because ivfflat_halfvec, "
        f"ivfflat gate and {variant} does not. Next step: add {variant} to pgvector_search.variants, or drop it: "
        f"--set objectives.pgvector_search.latency_p95.{variant}=null",
    ):
        of_pgvector(tmp_path, f'latency_p95: {{{variant}: "< 0.03"}}')
    of_pgvector(tmp_path, f'latency_p95: {{{variant}: "< 0.03"}}', f"[{variant}]")


def test_what_stands_in_where_the_server_lacks_a_variant_can_have_an_objective_of_its_own(tmp_path):
    found = of_pgvector(tmp_path, 'latency_p95: {ivfflat: "< 0.04"}').objectives["pgvector_search"]
    assert found["latency_p95"] == {"ivfflat": Limit(op="<", limit=0.04)}
    with pytest.raises(InputError, match="of ivfflat is never judged, because hnsw gate"):
        of_pgvector(tmp_path, 'latency_p95: {ivfflat: "< 0.04"}', "[hnsw]")


def test_a_run_may_leave_out_a_variant_that_the_suite_has_an_objective_on(tmp_path):
    found = shipped(tmp_path, overrides={"pgvector_search.variants": ["hnsw"]}).objectives["pgvector_search"]
    assert list(found["latency_p95"]) == ["ivfflat_halfvec"]
    chosen = {"pgvector_search.variants": ["hnsw"], "objectives.pgvector_search.latency_p95.hnsw": "< 0.01"}
    found = shipped(tmp_path, overrides=chosen).objectives["pgvector_search"]
    assert found["latency_p95"] == {
        "ivfflat_halfvec": Limit(op="<", limit=0.03), "hnsw": Limit(op="<", limit=0.01),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("overrides", "limits"),
    [
        ({"latency_p95.ivfflat_halfvec": 0.025}, {"ivfflat_halfvec": "< 0.025"}),
        ({"latency_p95.ivfflat_halfvec": "<= 0.1"}, {"ivfflat_halfvec": "<= 0.1"}),
        ({"latency_p95.ivfflat": "< 0.04"}, {"ivfflat_halfvec": "< 0.03", "ivfflat": "< 0.04"}),
        ({"latency_p95": 0.02}, {"ivfflat_halfvec": "< 0.02"}),
        ({"latency_p95": "< 0.02"}, {"ivfflat_halfvec": "< 0.02", "cpu": "< 0.02"}),
        ({"latency_p95.ivfflat": "< 0.04", "latency_p95": "< 0.02"}, {"ivfflat_halfvec": "< 0.02", "cpu": "< 0.02", "ivfflat": "< 0.04"}),
        ({"latency_p95.ivfflat_halfvec": None}, None),
        ({"latency_p95": None}, None),
        ({"latency_p95": None, "latency_p95.ivfflat": "< 0.04"}, {"ivfflat": "< 0.04"}),
    ],
)  # fmt: skip
def test_a_run_has_its_own_limit_for_a_variant(tmp_path, overrides, limits):
    changed = {f"objectives.pgvector_search.{path}": value for path, value in overrides.items()}
    found = shipped(tmp_path, overrides=changed).objectives["pgvector_search"].get("latency_p95")
    assert found is None if limits is None else {key: str(limit) for key, limit in found.items()} == limits


def test_one_device_can_be_dropped(tmp_path):
    found = shipped(tmp_path, overrides={"objectives.transcription.xrt.gpu": None}).objectives["transcription"]
    assert found["xrt"] == {"cpu": Limit(op="<=", limit=2)}


def test_what_only_other_variants_are_judged_by_is_said():
    limits = {
        "latency_p50": {"cpu": Limit(op="<", limit=0.03)}, "latency_p99": {"gpu": Limit(op="<", limit=0.03)},
        "latency_p95": {"half": Limit(op="<", limit=0.03), "graph": Limit(op="<=", limit=0.1)},
    }  # fmt: skip
    assert not_judged(limits, "single", "cpu") == {
        "latency_p95": "it is an objective of half (< 0.03), graph (<= 0.1) alone",
    }  # fmt: skip
    assert not_judged(limits, "half", "cpu") == {}


def test_every_metric_has_a_direction():
    specs = all_specs()
    higher = {name for name, spec in specs.items() if spec.higher_is_better}
    assert {"recall_at_100", "recall_p5", "scan_recall", "rtfx", "batch_rtfx", "qps", "rows_per_second"} <= higher
    assert not higher & {"xrt", "batch_xrt", "wer", "latency_p95", "index_bytes", "route_seconds", "first_touch"}
    assert specs["recall_at_5"].share and not specs["wer"].share and not specs["rtfx"].share
    assert {name for name, spec in specs.items() if spec.zero_is_possible and not spec.share} == {"wer", "cer"}
