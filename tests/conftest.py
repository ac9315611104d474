"""Every test works in folders of its own: no test reads or writes the user's NIGHTGATE_HOME or results."""

from __future__ import annotations

import os
import tempfile

import pytest

_USERS = dict(os.environ)
# before anything imports Airflow: it reads its home once
_SCRATCH = tempfile.mkdtemp(prefix="nightgate-tests-")
os.environ["AIRFLOW_HOME"] = f"{_SCRATCH}/airflow"
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
os.environ["NIGHTGATE_HOME"] = f"{_SCRATCH}/home"
os.environ["NIGHTGATE_AGAIN_AFTER"] = "0"  # no test waits for a quiet host
os.environ["NIGHTGATE_LOCK"] = f"{_SCRATCH}/measure.lock"
os.environ["NIGHTGATE_RUNS"] = f"{_SCRATCH}/runs"
_SERVERS = ("GRAFANA_", "NIGHTGATE_CACHE_", "NIGHTGATE_REDIS_")
# other tests and programs work beside them, and what is tested is not this host
os.environ["NIGHTGATE_SHARED_HOST"] = "1"
for name in [name for name in os.environ if name.startswith(_SERVERS)]:
    os.environ.pop(name, None)


_LONGEST = (
    "test_night", "test_whisper_cpu", "test_examples", "test_transcription", "test_own_dataset", "test_hybrid_ann", "test_package",
    "test_openai_whisper", "test_confirming", "test_hybrid_gpu", "test_pgvector_bad_days", "test_own_suite", "test_pgvector_search",
    "test_measure_command", "test_environments",
)  # fmt: skip
"""The files that take longest, which begin first: each is of one process, and the last would have it alone."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {f"{name}.py": place for place, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))


@pytest.fixture
def users_environment() -> dict[str, str]:
    """The environment as the user has it: the heavy tests use what is prepared and keep what they measure."""
    return dict(_USERS)


def pytest_sessionfinish() -> None:
    import shutil

    shutil.rmtree(_SCRATCH, ignore_errors=True)
