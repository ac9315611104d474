"""The lines of an export: how the store writes them, and what of them this version understands.

Each has a ``schema_version`` and a ``kind``. A run's line comes before those of its results, its notes and what the watch measured and
told of it; what was installed when something was measured comes last.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from nightgate.environments.lock import Lock
from nightgate.paths import RUN_ID
from nightgate.record import STORED, Device, Standing, Summary, Verdict
from nightgate.results import alerts
from nightgate.results.beside import Measured

RUN = """
jsonb_build_object('schema_version', 1, 'kind', 'run', 'run_id', own.run_id, 'dag_id', own.dag_id, 'suite', own.suite,
    'scale', own.scale, 'standing', own.standing, 'overrides', own.overrides, 'state', own.state,
    'finished_at', own.finished_at, 'recorded_at', own.recorded_at, 'head', own.head)
"""
_RESULT = """
jsonb_build_object('schema_version', 1, 'kind', 'result', 'run_id', own.run_id, 'measured_at', own.measured_at,
    'record', own.record)
"""
_NOTE = """
jsonb_build_object('schema_version', 1, 'kind', 'note', 'note', own.kind, 'run_id', own.run_id, 'benchmark', own.benchmark,
    'variant', own.variant, 'device', own.device, 'reason', own.reason, 'noted_by', own.noted_by, 'noted_at', own.noted_at,
    'withdrawn_reason', own.withdrawn_reason, 'withdrawn_by', own.withdrawn_by, 'withdrawn_at', own.withdrawn_at)
"""
_BESIDE = """
jsonb_build_object('schema_version', 1, 'kind', 'beside', 'run_id', own.run_id, 'benchmark', own.benchmark, 'variant', own.variant,
    'device', own.device, 'metric', own.metric, 'found', own.found, 'at', own.at)
"""
_ALERT = """
jsonb_build_object('schema_version', 1, 'kind', 'alert', 'alert', own.kind, 'run_id', own.run_id, 'suite', own.suite,
    'subject', own.subject, 'said', own.said, 'began_at', own.began_at, 'told_at', own.told_at, 'told_by', own.told_by,
    'over_run_id', own.over_run_id, 'over_at', own.over_at, 'over_told_at', own.over_told_at, 'over_told_by', own.over_told_by)
"""
_ENVIRONMENT = """
jsonb_build_object('schema_version', 1, 'kind', 'environment', 'digest', own.digest, 'lock', own.lock, 'kept_at', own.kept_at)
"""
EXPORT = f"""
SELECT line::text FROM (
    SELECT recorded_at, run_id, 0 AS place, '' AS of, {RUN} AS line FROM nightgate.runs AS own
    UNION ALL
    SELECT runs.recorded_at, own.run_id, 1, concat_ws(' ', own.benchmark, own.device, own.variant), {_RESULT}
    FROM nightgate.results AS own JOIN nightgate.runs USING (run_id)
    UNION ALL
    SELECT runs.recorded_at, own.run_id, 2, to_char(own.noted_at, 'YYYYMMDDHH24MISSUS'), {_NOTE}
    FROM nightgate.notes AS own JOIN nightgate.runs USING (run_id)
    UNION ALL
    SELECT runs.recorded_at, own.run_id, 3, concat_ws(' ', own.benchmark, own.device, own.variant, own.metric), {_BESIDE}
    FROM nightgate.beside AS own JOIN nightgate.runs USING (run_id)
    UNION ALL
    SELECT runs.recorded_at, own.run_id, 4, concat_ws(' ', own.kind, own.subject), {_ALERT}
    FROM nightgate.alerts AS own JOIN nightgate.runs USING (run_id)
    UNION ALL
    SELECT 'infinity', '', 5, own.digest, {_ENVIRONMENT} FROM nightgate.environments AS own
) AS lines ORDER BY recorded_at, run_id, place, of
"""


class Line(BaseModel):
    """One line; the kinds say the rest."""

    model_config = ConfigDict(extra="forbid")

    schema_version: Literal[1]


class OfRun(Line):
    run_id: str = Field(pattern=f"^(?:{RUN_ID.pattern})$")


class RunLine(OfRun):
    kind: Literal["run"]
    dag_id: str
    suite: str
    scale: str
    standing: Standing
    overrides: dict[str, Any] | None
    state: Verdict | None
    finished_at: AwareDatetime | None
    recorded_at: AwareDatetime
    head: dict[str, Any] | None

    @model_validator(mode="after")
    def _is_a_summary(self) -> RunLine:
        if (self.head is None) != (self.state is None):
            raise ValueError("a run has a head just when it was judged")
        if self.head is not None:
            summary = Summary.model_validate({**self.head, "results": []}, context=STORED)
            told = (self.run_id, self.dag_id, self.suite, self.scale, self.state)
            if (summary.run_id, summary.dag_id, summary.suite, summary.scale, summary.state) != told:
                raise ValueError("the head is of another run")
        return self


class ResultLine(OfRun):
    kind: Literal["result"]
    measured_at: AwareDatetime
    record: dict[str, Any]


class NoteLine(OfRun):
    kind: Literal["note"]
    note: Literal["excluded", "accepted"]
    benchmark: str
    variant: str
    device: Device | Literal[""]
    reason: str = Field(min_length=1)
    noted_by: str
    noted_at: AwareDatetime
    withdrawn_reason: str | None
    withdrawn_by: str | None
    withdrawn_at: AwareDatetime | None


class BesideLine(OfRun):
    kind: Literal["beside"]
    benchmark: str
    variant: str
    device: Device
    metric: str
    found: Measured
    at: AwareDatetime


class AlertLine(OfRun):
    kind: Literal["alert"]
    alert: alerts.Kind
    suite: str
    subject: str
    said: alerts.Said
    began_at: AwareDatetime
    told_at: AwareDatetime | None
    told_by: list[str]
    over_run_id: str | None
    over_at: AwareDatetime | None
    over_told_at: AwareDatetime | None
    over_told_by: list[str]


class EnvironmentLine(Line):
    kind: Literal["environment"]
    digest: str
    lock: Lock
    kept_at: AwareDatetime


_Any = RunLine | ResultLine | NoteLine | BesideLine | AlertLine | EnvironmentLine
ANY: TypeAdapter[_Any] = TypeAdapter(Annotated[_Any, Field(discriminator="kind")])
