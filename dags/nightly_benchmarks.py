"""The nightly of the shipped suite, or of the one that NIGHTGATE_SUITE names. Another suite: one more such call."""

from nightgate.airflow import nightlies

nightlies(dag_id="nightly_benchmarks", schedule="0 2 * * *")
