"""The example packages, as their user has them: installed beside Nightgate's wheel, in a folder that is no checkout.

Another package that is broken is installed with them, and changes nothing for anybody.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from support import package
from support.package import ROOT, Project

from nightgate.record import Record
from nightgate.results.store import Store

PACKAGES = sorted(file.parent for file in (ROOT / "examples").glob("*/pyproject.toml"))
SUITE = """
schema_version: 1
name: examples
objectives:
  compression: {compress_p95: "< 1", size_ratio: "<= 0.6"}
  sqlite_search: {recall_at_5: ">= 0.9", latency_p95: "< 1"}
  hybrid_ann: {recall_at_100: ">= 0.5", latency_p95: "< 1"}
  transcription: {xrt: "<= 10", wer: "<= 0.9"}
compression: {variants: [zlib], controls: [lzma]}
sqlite_search: {variants: [scan], rows: 2000, dim: 16, passes: 1, load_seconds: 0.2, clients: [1, 2]}
hybrid_ann: {variants: [sketch], rows: 3000, dim: 32, load_seconds: 0.2}
transcription: {variants: [faster-whisper-float32], controls: [], precision: 0.5, batch_seconds: 10, batch_repeats: 1}
scales:
  smoke:
    compression: {documents: 100}
    sqlite_search: {queries: 100}
    hybrid_ann: {queries: 100}
"""
DAG = """
from pathlib import Path
from nightgate.airflow import nightly
nightly(dag_id="examples", suite=Path(__file__).with_name("suite.yaml"), schedule=None)
"""
LOADED = """
import json, sys
from nightgate.terminal import plugins
plugins.found()
print(json.dumps(sorted(sys.modules)))
"""
PAGE = """
import sys
from nightgate.publish import prometheus
from nightgate.results.store import Store
print(prometheus.render(Store(sys.argv[1]).snapshot())[0].decode())
"""


@dataclass(frozen=True)
class Example:
    benchmark: str
    title: str
    variants: tuple[str, ...]
    judged: tuple[str, ...]
    row: str  # of its report
    gauge: str


def labels(benchmark: str, variant: str) -> str:
    """A pattern of them: the host is this one."""
    return f'benchmark="{benchmark}",device="cpu",host="[0-9a-f]+",scale="smoke",suite="examples",variant="{variant}"}}'


EXAMPLES = [
    Example("compression", "Compression", ("zlib", "lzma"), ("compress_p95", "size_ratio"), "P95 of one document",
            "nightgate_compress_p95_seconds{" + labels("compression", "zlib")),
    Example("sqlite_search", "SQLite search", ("scan",), ("recall_at_5", "latency_p95"), "Recall@5",
            'nightgate_recall_ratio{at="5",' + labels("sqlite_search", "scan")),
    Example("hybrid_ann", "Hybrid ANN", ("sketch",), ("recall_at_100", "latency_p95"), "Recall@100",
            'nightgate_recall_ratio{at="100",' + labels("hybrid_ann", "sketch")),
    Example("transcription", "Transcription", ("faster-whisper-float32",), ("xrt", "wer"), "xRT",
            "nightgate_xrt_ratio{" + labels("transcription", "faster-whisper-float32")),
]  # fmt: skip
each = pytest.mark.parametrize("example", EXAMPLES, ids=[example.benchmark for example in EXAMPLES])
each_benchmark = pytest.mark.parametrize("example", EXAMPLES[:2], ids=[example.benchmark for example in EXAMPLES[:2]])


@pytest.fixture(scope="module")
def project(wheel, tmp_path_factory):
    made = Project(tmp_path_factory.mktemp("project"))
    made.install(wheel)
    for source in (*PACKAGES, ROOT / "tests/support/broken"):
        files = [file.name for file in source.iterdir() if file.suffix in (".py", ".toml")]
        made.install(package.build(source, files, tmp_path_factory.mktemp("wheel")))
    (made.folder / "dags").mkdir()
    (made.folder / "dags" / "walk.py").write_text(DAG)
    for place in ("suite.yaml", "dags/suite.yaml"):
        (made.folder / place).write_text(SUITE)
    return made


@pytest.fixture(scope="module")
def at_work(project):
    """The environment of a command that measures."""
    return {"SQLITE_FILE": str(project.folder / "vectors.db"), "NIGHTGATE_SUITE": str(project.folder / "suite.yaml")}


def judged(records: list[Record], example: Example) -> dict[str, str]:
    """Metric → verdict of the gated variant."""
    assert [record.variant for record in records] == list(example.variants)
    assert [record.status for record in records] == ["measured"] * len(records), records[0].reason
    assert [record.gated for record in records] == [True, *[False] * (len(records) - 1)]
    return {objective.metric: objective.verdict for objective in records[0].objectives}


def card(report: str, example: Example) -> str:
    """What a report shows of it."""
    (found,) = [part for part in report.split('<div class="cardhead">') if part.startswith(f"<h3>{example.title}</h3>")]
    return found


@pytest.mark.parametrize("folder", PACKAGES, ids=[folder.name for folder in PACKAGES])
def test_an_example_needs_the_public_api_only_and_is_short(folder):
    (file,) = folder.glob("*.py")
    source = file.read_text()
    assert re.findall(r"^ *(?:from|import) nightgate.*", source, re.M) == ["from nightgate import api"]
    assert len([line for line in source.splitlines() if line.strip()]) <= 70


def test_what_is_installed_is_listed_and_the_broken_named(project):
    done = project.nightgate("plugins", "--json")
    assert done.returncode == 0, done.stderr
    rows = {(row["group"], row["name"]): row for row in json.loads(done.stdout)}
    compression = rows["nightgate.benchmarks", "compression"]
    assert (compression["package"], compression["version"]) == ("nightgate-compression", "1.0")
    assert rows["nightgate.vector_stores", "sqlite"]["package"] == "nightgate-sqlite"
    assert rows["nightgate.strategies", "sketch"]["package"] == "nightgate-sketch"
    assert rows["nightgate.engines", "faster-whisper-float32"]["package"] == "nightgate-float32"
    assert {name: row["error"] for (_, name), row in rows.items() if row["error"]} == dict.fromkeys(
        ("broken", "broken_store"), "ModuleNotFoundError: No module named 'a_package_that_nobody_has'"
    )
    shown = project.nightgate("plugins").stdout
    assert re.search(r"nightgate.benchmarks +compression +nightgate-compression 1.0 +[\d.]+ .?s", shown)
    assert "broken of nightgate-broken 0.3 (nightgate.benchmarks) is left out: ModuleNotFoundError" in shown


def test_listing_them_loads_nothing_heavy(project):
    modules = json.loads(project.python("-c", LOADED).stdout)
    assert {file.stem for folder in PACKAGES for file in folder.glob("*.py")} <= set(modules)
    assert {"numpy", "scipy", "faiss", "psycopg"} & set(modules) == set()


@each
def test_a_typo_is_answered_with_its_own_keys(project, at_work, example):
    done = project.nightgate("measure", example.benchmark, "--set", f"{example.benchmark}.variant=x", **at_work)
    assert done.returncode == 2
    assert f"{example.benchmark} has no key 'variant'; did you mean 'variants'?" in done.stderr
    done = project.nightgate("measure", example.benchmark, "--variant", f"{example.variants[0]}s", **at_work)
    assert done.returncode == 2
    assert f"there is no variant '{example.variants[0]}s'; did you mean '{example.variants[0]}'?" in done.stderr
    metric = example.judged[0]
    done = project.nightgate(
        "measure", example.benchmark, "--set", f"objectives.{example.benchmark}.{metric}x=1", **at_work
    )
    assert done.returncode == 2
    assert f"did you mean '{metric}'?" in done.stderr


@pytest.mark.parametrize(
    "example",
    [
        *EXAMPLES[:3],
        pytest.param(EXAMPLES[3], marks=pytest.mark.slow),  # it speaks first
    ],
    ids=[example.benchmark for example in EXAMPLES],
)
def test_a_measurement_in_the_terminal(project, at_work, example):
    done = project.nightgate("measure", example.benchmark, "--json", **at_work)
    assert done.returncode == 0, done.stderr
    records = [Record.model_validate(record) for record in json.loads(done.stdout)]
    assert judged(records, example) == dict.fromkeys(example.judged, "pass")
    assert {record.suite for record in records} == {"examples"}
    for metric in example.judged:
        found = records[0].metrics[metric]
        assert found.ci95 and found.ci95[0] <= found.value <= found.ci95[1]
    (report,) = re.findall(r"report: (\S+)", done.stderr)
    assert example.row in card(Path(report).read_text(), example)


@pytest.mark.slow
@each_benchmark
def test_an_objective_out_of_reach_is_a_breach(project, at_work, example):
    metric = {"compression": "size_ratio", "sqlite_search": "latency_p95"}[example.benchmark]
    limit = f"objectives.{example.benchmark}.{metric}=1e-9"
    done = project.nightgate("measure", example.benchmark, "--json", "--set", limit, **at_work)
    assert done.returncode == 1, done.stderr
    (first, *_) = json.loads(done.stdout)
    assert {o["metric"]: o["verdict"] for o in first["objectives"]}[metric] == "breach"


@pytest.mark.slow
def test_a_run_of_its_own_dag(project, at_work, postgres_url):
    """In Airflow, from a DAG file of three lines: records, verdicts, report, store, and the page for Prometheus."""
    host = postgres_url.split("host=")[1]
    env = at_work | {
        "AIRFLOW__CORE__DAGS_FOLDER": str(project.folder / "dags"),
        "AIRFLOW_CONN_NIGHTGATE_RESULTS": f"postgres://postgres:@/postgres?host={host}",
    }
    del env["NIGHTGATE_SUITE"]  # the DAG names it
    for words in (("db", "migrate"), ("dags", "reserialize")):
        done = project.python("-m", "airflow", *words, **env)
        assert done.returncode == 0, done.stderr
    pools = str(project.folder / "site/nightgate/pools.json")
    assert project.python("-m", "airflow", "pools", "import", pools, **env).returncode == 0
    done = project.python("-m", "airflow", "dags", "test", "examples", "--conf", '{"scale": "smoke"}', **env)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    with Store(postgres_url) as store:
        (run,) = [run for run in store.nights(30) if run.suite == "examples"]
    assert (run.state, run.scale) == ("pass", "smoke")
    page = project.python("-c", PAGE, postgres_url).stdout
    report = (project.home / "runs" / run.run_id / "report.html").read_text()
    for example in EXAMPLES:
        records = [one for one in run.results if (one.benchmark, one.device) == (example.benchmark, "cpu")]
        records.sort(key=lambda record: not record.gated)
        assert judged(records, example) == dict.fromkeys(example.judged, "pass")
        assert example.row in card(report, example)
        (value,) = [
            line.split()[-1]
            for line in page.splitlines()
            if re.match(example.gauge.replace("{", r"\{").replace("}", r"\}"), line)
        ]
        metric = example.judged[0]
        assert float(value) == pytest.approx(records[0].metrics[metric].value)
