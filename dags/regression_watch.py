"""The DAG that watches the nights of every suite: what becomes slower or worse inside of its limits, since when, and why."""

from nightgate.airflow import watches

watches()
