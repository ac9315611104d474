-- For which suite it was. Rows of before it was kept are those of the shipped one.
ALTER TABLE nightgate.runs ADD COLUMN suite text COLLATE "C" NOT NULL DEFAULT 'nightly';
ALTER TABLE nightgate.results ADD COLUMN suite text COLLATE "C" NOT NULL DEFAULT 'nightly';
DROP INDEX IF EXISTS nightgate.runs_judged, nightgate.runs_passed, nightgate.runs_by_standing, nightgate.series,
    nightgate.series_measured, nightgate.series_judged, nightgate.devices_of_hosts;

CREATE INDEX runs_judged ON nightgate.runs (suite, standing, finished_at DESC) WHERE state IS NOT NULL;
CREATE INDEX runs_passed ON nightgate.runs (suite, standing, finished_at DESC) WHERE state = 'pass';
CREATE INDEX runs_by_standing ON nightgate.runs (suite, standing, recorded_at DESC);
CREATE INDEX series ON nightgate.results (suite, standing, benchmark, variant, device, measured_at DESC);
CREATE INDEX series_measured ON nightgate.results (suite, standing, benchmark, variant, device, measured_at DESC)
    WHERE status = 'measured';
CREATE INDEX series_judged ON nightgate.results (suite, standing, benchmark, variant, device, measured_at DESC)
    WHERE judged;
CREATE INDEX devices_of_hosts
    ON nightgate.results (suite, standing, benchmark, device, fingerprint, measured_at DESC)
    WHERE judged OR status <> 'measured';
