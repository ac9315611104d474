"""### Nightly benchmarks

Measures transcription, hybrid vector search and pgvector on this host, records every number, judges it against the
objectives of `include/suites/nightly.yaml` with a stated confidence, and fails when one does not hold.

`prepare` builds what is missing, `measure` has the host for itself, `record` stores the numbers, `gate` judges them.
`report`, `verdict` and `upload_dashboards` are teardowns: they run after a breach as well, and after somebody ended the
run. `verdict` alone decides the run's state: it fails unless everything was judged and holds.
"""

from datetime import timedelta

from airflow.sdk import dag

from nightgate import registry
from nightgate.measure.durations import NIGHT_SECONDS
from nightgate.orchestration.params import trigger_params
from nightgate.orchestration.tasks import measured, preflight, report, upload_dashboards, verdict


@dag(
    schedule="0 2 * * *",
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=False,
    dagrun_timeout=timedelta(seconds=NIGHT_SECONDS),
    params=trigger_params(),
    default_args={"owner": "nightgate"},
    tags=["benchmark", "slo"],
    doc_md=__doc__,
)
def nightly_benchmarks():
    plan = preflight()
    gates = [gate for name, known in registry.installed().items() for gate in measured(name, known.devices, plan)]
    closing = report(plan).as_teardown()
    # it must be a leaf of its own: what is pending when a run is ended by hand is skipped, and skipped gates fail nobody
    decided = verdict(closing).as_teardown(on_failure_fail_dagrun=True)
    gates >> closing >> [decided, upload_dashboards().as_teardown()]
    gates >> decided


nightly_benchmarks()
