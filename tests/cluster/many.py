"""A DAG like the nightly of which many runs may go on at once."""

from nightgate.airflow import nightly

nightly(dag_id="many", schedule=None).max_active_runs = 32
