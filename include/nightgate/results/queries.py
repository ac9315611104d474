"""The statements of the results store. All names are qualified, so that no search path matters."""

from __future__ import annotations

INSERT_RUN = "INSERT INTO nightgate.runs (run_id, dag_id, scale) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING"

UPSERT_RUN = """
INSERT INTO nightgate.runs (run_id, dag_id, scale, state, finished_at, head) VALUES (%s, %s, %s, %s, %s, %s::jsonb)
ON CONFLICT (run_id) DO UPDATE SET dag_id = excluded.dag_id, scale = excluded.scale, state = excluded.state,
    finished_at = excluded.finished_at, head = excluded.head
"""

UPSERT_RESULT = """
INSERT INTO nightgate.results
    (run_id, benchmark, variant, device, status, judged, fingerprint, measured_at, record)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s::jsonb)
ON CONFLICT (run_id, benchmark, variant, device) DO UPDATE SET status = excluded.status, judged = excluded.judged,
    fingerprint = excluded.fingerprint, measured_at = excluded.measured_at, record = excluded.record
"""

RUN_COLUMNS = "run_id, dag_id, scale, state, head->>'started_at', head->>'finished_at'"

RUNS = f"SELECT {RUN_COLUMNS} FROM nightgate.runs ORDER BY recorded_at DESC LIMIT %s"

RUN_RESULTS = """
SELECT run_id, record - 'detail' - 'settings' FROM nightgate.results WHERE run_id = ANY(%s)
ORDER BY benchmark, device, variant
"""

SUMMARY_RESULTS = "SELECT record FROM nightgate.results WHERE run_id = %s ORDER BY benchmark, device, variant"

LAST_FINISHED = f"SELECT {RUN_COLUMNS} FROM nightgate.runs WHERE state IS NOT NULL ORDER BY finished_at DESC LIMIT 1"

LAST_SUCCESS = """
SELECT head->>'finished_at' FROM nightgate.runs WHERE state = 'pass' ORDER BY finished_at DESC LIMIT 1
"""

HISTORY = """
SELECT run_id, measured_at, record->'metrics'->%(metric)s::text
FROM nightgate.results JOIN nightgate.runs USING (run_id)
WHERE benchmark = %(benchmark)s AND variant = %(variant)s AND device = %(device)s AND fingerprint = %(fingerprint)s
  AND status = 'measured' AND record->'metrics' ? %(metric)s::text
  AND (%(scale)s::text IS NULL OR scale = %(scale)s)
ORDER BY measured_at DESC LIMIT %(limit)s
"""

# A loose index scan (https://wiki.postgresql.org/wiki/Loose_indexscan): one probe for each series, two for its rows.
NEWEST = """
WITH RECURSIVE series AS (
    (SELECT benchmark, variant, device FROM nightgate.results ORDER BY benchmark, variant, device LIMIT 1)
    UNION ALL
    SELECT following.* FROM series, LATERAL (
        SELECT benchmark, variant, device FROM nightgate.results
        WHERE (benchmark, variant, device) > (series.benchmark, series.variant, series.device)
        ORDER BY benchmark, variant, device LIMIT 1
    ) AS following
)
SELECT measured.run_id, measured.record, judged.record
FROM series
LEFT JOIN LATERAL (
    SELECT run_id, record - 'detail' AS record FROM nightgate.results
    WHERE (benchmark, variant, device) = (series.benchmark, series.variant, series.device)
      AND status = 'measured' AND measured_at > now() - %s::interval
    ORDER BY measured_at DESC LIMIT 1
) AS measured ON true
LEFT JOIN LATERAL (
    SELECT record - 'detail' AS record FROM nightgate.results
    WHERE (benchmark, variant, device) = (series.benchmark, series.variant, series.device)
      AND judged AND measured_at > now() - %s::interval
    ORDER BY measured_at DESC LIMIT 1
) AS judged ON true
ORDER BY series.benchmark, series.device, series.variant
"""
