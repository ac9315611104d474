"""The nightlies of a suite that every machine measures for itself."""

import os
from pathlib import Path

from nightgate.airflow import nightlies

nightlies(dag_id="each", suite=Path(os.environ["NIGHTGATE_SUITE"]).with_name("each.yaml"), schedule=None)
