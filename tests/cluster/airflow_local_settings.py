"""A cluster policy for tests: a run that is called "on-ABAB…" has each of its steps on the machine of its letter."""

from __future__ import annotations

__all__ = ["task_instance_mutation_hook"]

STEPS = ("prepare", "measure", "record", "gate", "report")


def task_instance_mutation_hook(task_instance, dag_run=None):
    where = (task_instance.run_id or "").split("-")
    step = task_instance.task_id.rpartition(".")[2]
    if where[0] == "on" and step in STEPS:
        task_instance.queue = f"on-{where[1][STEPS.index(step)]}"
