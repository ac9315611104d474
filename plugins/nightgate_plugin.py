"""The board for an Airflow that has the package on its PYTHONPATH only. An installed one brings it by its entry point."""

from importlib.metadata import entry_points

if not entry_points(group="airflow.plugins", name="nightgate"):
    from nightgate.orchestration.plugin import NightgatePlugin  # noqa: F401
