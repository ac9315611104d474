"""The Compose files against the rules of the Compose specification, and against the files they depend on."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.fernet import Fernet

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "docker-compose.airflow.yaml"
MORE = ROOT / "docker-compose.worker.yaml"
SUPPORT = ROOT / "include" / "compose"
TEXT = FILE.read_text()
DOCUMENT: dict[str, Any] = yaml.safe_load(TEXT)  # anchors and merges resolved
SERVICES: dict[str, dict[str, Any]] = DOCUMENT["services"]
LINKS = [path for path in (ROOT / "include" / "nightgate").iterdir() if path.is_symlink()]
"""The parts of the package that lie elsewhere in the project."""
POOLS = json.loads((ROOT / "include" / "pools.json").read_text())

VARIABLE = re.compile(r"(?<!\$)\$\{([^}]*)\}")  # "$${NAME}" is left to the shell in the container
SECRET_NAME = re.compile(r"PASSWORD|TOKEN|SECRET|FERNET_KEY|REDISCLI_AUTH")

each_service = pytest.mark.parametrize("name", SERVICES)


def variables() -> dict[str, set[str]]:
    """Every variable of the file with what follows its name (``:?message`` or ``:-default``)."""
    found: dict[str, set[str]] = {}
    for body in VARIABLE.findall(TEXT):
        name = re.match(r"\w*", body)[0]
        found.setdefault(name, set()).add(body[len(name) :])
    return found


def workers() -> dict[str, tuple[set[str], int]]:
    """Service → the queues it serves and how many processes it has."""
    found = {}
    for name, service in SERVICES.items():
        command = str(service.get("command", "")).replace("${HOST_NAME:-main}", "main")
        if match := re.fullmatch(r"celery worker -q (\S+) -c (\d+)", command):
            found[name] = (set(match[1].split(",")), int(match[2]))
    return found


def bind_mounts() -> list[tuple[str, str]]:
    mounts = [mount.split(":") for service in SERVICES.values() for mount in service.get("volumes", ())]
    return sorted({(source, target) for source, target, *_ in mounts if source.startswith(".")})


# -- the specification ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", [FILE, MORE], ids=lambda file: file.name)
def test_it_fits_the_schema_of_the_specification(file: Path) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(file)]
    checked = subprocess.run(command, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@each_service
def test_a_service_has_an_image_and_starts_after_services_that_can_get_ready(name: str) -> None:
    service = SERVICES[name]
    assert service.get("image")
    for target, needs in service.get("depends_on", {}).items():
        other = SERVICES[target]
        assert set(other.get("profiles", ())) <= set(service.get("profiles", ())), f"{target} may not be started"
        if needs["condition"] == "service_healthy":
            assert other["healthcheck"]["test"]
        else:
            assert needs["condition"] == "service_completed_successfully"
            assert other["restart"] == "no", f"{target} never completes"


def test_no_service_waits_for_itself() -> None:
    waiting = {name: set(service.get("depends_on", ())) for name, service in SERVICES.items()}
    while ready := {name for name, targets in waiting.items() if not targets & waiting.keys()}:
        waiting = {name: targets for name, targets in waiting.items() if name not in ready}
    assert not waiting


@each_service
def test_a_service_that_runs_for_long_says_whether_it_is_healthy(name: str) -> None:
    service = SERVICES[name]
    assert (service["restart"] == "no") or service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")


def test_every_named_volume_is_declared_and_used() -> None:
    mounts = [mount.split(":")[0] for service in SERVICES.values() for mount in service.get("volumes", ())]
    assert {source for source in mounts if not source.startswith(".")} == set(DOCUMENT["volumes"])


@pytest.mark.parametrize(("source", "target"), bind_mounts())
def test_a_mounted_file_is_in_the_repository(source: str, target: str) -> None:
    assert (ROOT / source).exists()
    assert (ROOT / source).is_file() == target.endswith(".yml"), "a file is mounted on a folder, or a folder on a file"


@each_service
def test_a_published_port_is_bound_to_this_host(name: str) -> None:
    """Or, where other machines need it, to the address that says so, which is this host's own as long as it is not set."""
    shared = {"postgres", "redis", "airflow-apiserver"}
    address = "${PRIVATE_ADDRESS:-127.0.0.1}:" if name in shared else "127.0.0.1:"
    assert all(port.startswith(address) for port in SERVICES[name].get("ports", ()))


# -- variables and secrets -----------------------------------------------------------------------------------------


def test_every_variable_is_required_or_has_a_default() -> None:
    assert "$" not in VARIABLE.sub("", TEXT).replace("$$", ""), "a variable without braces"
    for name, forms in variables().items():
        assert len(forms) == 1, f"{name} is written in different ways: {forms}"
        assert re.fullmatch(r":\?.+|:-.*", *forms, flags=re.DOTALL), f"{name} may be undefined"


def test_no_secret_is_in_the_file() -> None:
    for name, forms in variables().items():
        if SECRET_NAME.search(name) and name != "GRAFANA_TOKEN":
            assert forms.pop().startswith(":?"), f"{name} has a default"
    assert variables()["GRAFANA_TOKEN"] == {":-"}  # it is made in Grafana, after the first start
    for service in SERVICES.values():
        for key, value in service.get("environment", {}).items():
            if SECRET_NAME.search(key) and not key.endswith("_FILE"):
                assert VARIABLE.fullmatch(value), f"{key} holds a literal"
    for password in re.findall(r"://[^/@\s:]*:([^@\s]*)@", VARIABLE.sub("<variable>", TEXT)):
        assert password == "<variable>", "an address holds a literal password"


@pytest.mark.skipif(not shutil.which("openssl"), reason="new-env.sh makes its secrets with openssl")
def test_the_env_script_sets_every_required_variable_to_a_fresh_valid_value() -> None:
    def run() -> dict[str, str]:
        lines = subprocess.check_output(["sh", str(SUPPORT / "new-env.sh")], text=True).splitlines()
        return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))

    one, other = run(), run()
    required = {name for name, forms in variables().items() if min(forms).startswith(":?")}
    assert required <= {name for name, value in one.items() if value}
    assert set(one) <= variables().keys() | {"COMPOSE_PROFILES"}, "it sets what the file does not read"
    secrets = {name for name in required if name != "AIRFLOW_UID"}
    assert not [name for name in secrets if one[name] == other[name]]
    assert len({one[name] for name in secrets}) == len(secrets)
    assert all(one[name].isalnum() for name in secrets - {"AIRFLOW_FERNET_KEY"}), "not fit for an address"
    Fernet(one["AIRFLOW_FERNET_KEY"])
    assert len(one["AIRFLOW_JWT_SECRET"]) >= 64
    assert one["COMPOSE_PROFILES"] in {profile for s in SERVICES.values() for profile in s.get("profiles", ())}


def test_git_ignores_the_secrets() -> None:
    assert {".env", "/.env"} & set((ROOT / ".gitignore").read_text().split())


# -- what belongs together -----------------------------------------------------------------------------------------


def test_the_pools_are_complete() -> None:
    assert set(POOLS) == {"cpu", "gpu"}
    for pool in POOLS.values():
        assert pool["description"] and pool["slots"] >= 1 and pool["include_deferred"] is False
    command = SERVICES["airflow-init"]["command"][-1]
    assert (
        "python -m nightgate.orchestration.hosts > /tmp/pools.json && airflow pools import /tmp/pools.json" in command
    )


def test_the_workers_serve_every_queue_with_as_many_processes_as_the_pools_allow() -> None:
    found = workers()
    assert found["airflow-worker-cpu"][0] == {"default", "cpu", "cpu.main"}
    assert found["airflow-worker-cpu"][1] > POOLS["cpu"]["slots"], "tasks of the queue default wait behind benchmarks"
    profiles = []
    for name in found.keys() - {"airflow-worker-cpu"}:
        assert found[name] == ({"gpu", "gpu.main"}, POOLS["gpu"]["slots"])
        profiles += SERVICES[name]["profiles"]
    assert sorted(profiles) == ["gpu", "no-gpu"]
    (device,) = SERVICES["airflow-worker-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"]


def test_every_address_names_a_service() -> None:
    environment = SERVICES["airflow-worker-cpu"]["environment"]
    assert environment["AIRFLOW__METRICS__STATSD_HOST"] in SERVICES
    text = VARIABLE.sub("x", json.dumps(SERVICES))
    hosts = set(re.findall(r"://(?:[^@\s\"]*@)?([a-z][a-z.-]*):\d", text)) - {"localhost"}
    assert hosts >= {"postgres", "pgvector", "redis", "grafana", "airflow-apiserver"}
    assert hosts <= SERVICES.keys()


def test_airflow_runs_on_celery_with_tagged_metrics_and_outlasts_a_night() -> None:
    for name, service in SERVICES.items():
        if not name.startswith("airflow-"):
            continue
        environment = service["environment"]
        assert environment["AIRFLOW__CORE__EXECUTOR"] == "CeleryExecutor"
        assert environment["AIRFLOW__METRICS__STATSD_ON"] == "true"
        assert environment["AIRFLOW__METRICS__STATSD_INFLUXDB_ENABLED"] == "true"
        assert environment["AIRFLOW__METRICS__LEGACY_NAMES_ON"] == "false"
        assert int(environment["AIRFLOW__CELERY_BROKER_TRANSPORT_OPTIONS__VISIBILITY_TIMEOUT"]) >= 24 * 3600
        home = environment["NIGHTGATE_HOME"]
        assert f"nightgate-home:{home}" in service["volumes"]
        assert home in (SUPPORT / "Dockerfile").read_text(), "the volume would belong to root"


def test_the_results_database_is_created_and_apart_from_the_measured_one() -> None:
    environment = SERVICES["airflow-worker-cpu"]["environment"]
    host, database = re.search(r"@([^:]+):\d+/(\w+)$", environment["AIRFLOW_CONN_NIGHTGATE_RESULTS"]).groups()
    assert f"CREATE DATABASE {database};" in (SUPPORT / "postgres-init" / "10-nightgate.sql").read_text()
    assert f"@{host}:" not in environment["PGVECTOR_URL"]
    assert environment["PGVECTOR_URL"] == environment["AIRFLOW_CONN_PGVECTOR_DEFAULT"]
    for name in (host, "pgvector"):  # since version 18 the image keeps its data one folder higher than before
        assert any(mount.endswith(":/var/lib/postgresql") for mount in SERVICES[name]["volumes"])


def test_the_image_is_built_from_files_that_exist() -> None:
    text = (SUPPORT / "Dockerfile").read_text()
    airflow = re.search(r"apache-airflow\S*==([\d.]+)", (ROOT / "pyproject.toml").read_text())[1]
    assert set(re.findall(r"^FROM apache/airflow:(\S+)", text, flags=re.MULTILINE)) == {f"{airflow}-python3.11"}
    stages = set(re.findall(r"^FROM \S+ AS (\S+)", text, flags=re.MULTILINE))
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for sources in re.findall(r"^COPY ([^-].*) \S+$", text, flags=re.MULTILINE):
        for source in sources.split():
            assert (ROOT / source).exists() and source.split("/")[0] in sent, f"{source} is missing"
    built = {service["image"]: service["build"] for service in SERVICES.values() if "build" in service}
    for build in built.values():
        assert build["target"] in stages
        assert (ROOT / build["context"] / build["dockerfile"]).is_file()
    for name, service in SERVICES.items():
        assert service["image"] in built or not name.startswith("airflow-"), f"nobody builds {service['image']}"
        assert re.search(r":v?\d+\.\d+", service["image"]), f"{service['image']} is not pinned"


def test_the_image_has_the_package_and_both_see_the_mounted_suite() -> None:
    text = (SUPPORT / "Dockerfile").read_text()
    wheel = text.partition(" AS wheel\n")[2].partition("\nFROM ")[0]
    copied = {
        source
        for line in re.findall(r"^COPY (.+) /tmp/nightgate/", wheel, flags=re.MULTILINE)
        for source in line.split()
    }
    assert copied >= {"pyproject.toml", "include/nightgate", *(str(link.resolve().relative_to(ROOT)) for link in LINKS)}
    for target in ("cpu", "gpu"):
        assert (
            "pip install --no-cache-dir --no-deps /tmp/wheel/*.whl"
            in text.partition(f" AS {target}\n")[2].partition("\nFROM ")[0]
        )
    for name in ("airflow-apiserver", "airflow-worker-cpu", "airflow-worker-gpu", "airflow-scheduler"):
        service = SERVICES[name]
        assert "./include/suites:/opt/airflow/suites:ro" in service["volumes"]
        assert service["environment"]["NIGHTGATE_SUITE"] == "/opt/airflow/suites/nightly.yaml"
        assert f"./benchmarks:{service['environment']['NIGHTGATE_RUNS'].removesuffix('/runs')}" in service["volumes"]


def test_the_gpu_requirements_repeat_nothing_of_the_common_ones() -> None:
    def names(file: Path) -> set[str]:
        return set(re.findall(r"^([a-z0-9._-]+)==", file.read_text(), flags=re.MULTILINE))

    assert {"cupy-cuda12x", "faiss-gpu"} <= names(SUPPORT / "gpu.txt")
    assert not names(SUPPORT / "gpu.txt") & names(ROOT / "include" / "requirements" / "run.txt")


# -- monitoring ----------------------------------------------------------------------------------------------------


def test_prometheus_scrapes_services_of_this_file() -> None:
    config = yaml.safe_load((SUPPORT / "prometheus.yml").read_text())
    jobs = {job["job_name"]: job for job in config["scrape_configs"]}
    for name, job in jobs.items():
        (target,) = job["static_configs"][0]["targets"]
        host, port = target.split(":")
        assert host in SERVICES or (host == "localhost" and name == "prometheus")
        assert f":{port}" in json.dumps(SERVICES["prometheus" if host == "localhost" else host]), "another port"
    assert jobs["nightgate"]["metrics_path"] == "/nightgate/metrics"


def test_prometheus_shows_the_token_that_the_api_server_expects() -> None:
    (name,) = SERVICES["prometheus"]["secrets"]
    variable = DOCUMENT["secrets"][name]["environment"]
    assert VARIABLE.fullmatch(SERVICES["airflow-apiserver"]["environment"][variable])[1].startswith(f"{variable}:?")
    assert f"credentials_file: /run/secrets/{name}\n" in (SUPPORT / "prometheus.yml").read_text()


def test_the_statsd_mapping_keeps_airflow_s_own_names() -> None:
    mapping = yaml.safe_load((SUPPORT / "statsd-mapping.yml").read_text())
    assert mapping["mappings"] == []
    buckets = mapping["defaults"]["histogram_options"]["buckets"]
    assert mapping["defaults"]["observer_type"] == "histogram"
    assert buckets == sorted(set(buckets)) and buckets[-1] >= 4 * 3600


def test_grafana_knows_prometheus_and_leaves_the_dashboards_to_the_upload() -> None:
    files = [file for file in (SUPPORT / "grafana" / "provisioning").rglob("*") if file.is_file()]
    assert [file.parent.name for file in files] == ["datasources"]
    (source,) = yaml.safe_load(files[0].read_text())["datasources"]
    assert source["type"] == "prometheus"
    assert re.fullmatch(r"http://([a-z-]+):9090", source["url"])[1] in SERVICES


# -- a further machine ---------------------------------------------------------------------------------------------

OTHER: dict[str, Any] = yaml.safe_load(MORE.read_text())
OF_MAIN = {
    "postgres:5432": "${MAIN_ADDRESS:?missing, see the top of this file}:${POSTGRES_PORT:-5432}",
    "redis:6379": "${MAIN_ADDRESS:?missing, see the top of this file}:${REDIS_PORT:-6379}",
    "airflow-apiserver:8080": "${MAIN_ADDRESS:?missing, see the top of this file}:${AIRFLOW_PORT:-8080}",
}
"""What the main machine publishes, as the others reach it."""


@pytest.mark.parametrize("name", ["airflow-worker-cpu", "airflow-worker-gpu"])
def test_a_further_machine_is_told_what_the_main_one_is(name: str) -> None:
    here, there = SERVICES[name], OTHER["services"][name]
    expected = here["environment"] | {"NIGHTGATE_HOST": "${HOST_NAME:?missing, see the top of this file}"}
    for inside, outside in OF_MAIN.items():
        expected = {key: value.replace(inside, outside) for key, value in expected.items()}
    assert there["environment"].items() <= expected.items()
    left_out = expected.keys() - there["environment"].keys()
    assert all(
        re.match(r"AIRFLOW__(METRICS|DATABASE|CORE__SIMPLE_AUTH|API__BASE|SCHEDULER__ENABLE)|GRAFANA_", key)
        for key in left_out
    )
    assert all(there[key] == here[key] for key in ("image", "volumes", "stop_grace_period", "shm_size", "user"))
    assert there["profiles"] == [name.rpartition("-")[2]]
    queue = there["profiles"][0]
    assert there["command"].startswith(f"celery worker -q {queue},{queue}.${{HOST_NAME:?"), (
        "the main machine plans and reports"
    )
    assert there["hostname"].startswith("${HOST_NAME:?"), "Airflow reads logs from the name of the worker"
    (port,) = there["ports"]
    assert port.startswith("${PRIVATE_ADDRESS:?") and port.endswith(":8793")


def test_the_measured_database_is_the_same_on_every_machine() -> None:
    same = {key: value for key, value in SERVICES["pgvector"].items() if key != "restart"}
    assert OTHER["services"]["pgvector"].items() >= same.items()


def test_what_a_further_machine_reaches_is_published() -> None:
    published = {f"{name}:{port.rpartition(':')[2]}" for name, one in SERVICES.items() for port in one.get("ports", ())}
    assert published >= OF_MAIN.keys()
    env = {name for name in re.findall(r"\$\{(\w+):\?", MORE.read_text())}
    assert env - set(variables()) == {"MAIN_ADDRESS"}, "its .env is that of the main machine, and where that is"
