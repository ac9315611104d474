-- Of which DAG a result is: each has nights of its own, and where a suite names hosts, each host has a DAG. What one of them found takes
-- nothing from what another did (`nightgate.results.queries.NEWEST`).
ALTER TABLE nightgate.results ADD COLUMN dag_id text COLLATE "C" NOT NULL DEFAULT '';
UPDATE nightgate.results AS own SET dag_id = runs.dag_id FROM nightgate.runs WHERE runs.run_id = own.run_id;
ALTER TABLE nightgate.results ALTER COLUMN dag_id DROP DEFAULT;
DROP INDEX nightgate.runs_judged, nightgate.runs_passed, nightgate.series, nightgate.series_measured, nightgate.series_judged,
    nightgate.devices_of_hosts;

CREATE INDEX runs_of_dags ON nightgate.runs (suite, standing, dag_id, recorded_at DESC);
CREATE INDEX runs_judged ON nightgate.runs (suite, standing, dag_id, finished_at DESC) WHERE state IS NOT NULL;
CREATE INDEX runs_passed ON nightgate.runs (suite, standing, dag_id, finished_at DESC) WHERE state = 'pass';
CREATE INDEX series ON nightgate.results (suite, standing, dag_id, benchmark, variant, device, measured_at DESC);
CREATE INDEX series_measured ON nightgate.results (suite, standing, dag_id, benchmark, variant, device, measured_at DESC)
    WHERE status = 'measured';
CREATE INDEX series_judged ON nightgate.results (suite, standing, dag_id, benchmark, variant, device, measured_at DESC)
    WHERE judged;
CREATE INDEX devices_of_hosts
    ON nightgate.results (suite, standing, dag_id, benchmark, device, fingerprint, measured_at DESC)
    WHERE judged OR status <> 'measured';
