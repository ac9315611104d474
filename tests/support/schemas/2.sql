-- The results store. Safe to run again, and by several processes at once: whoever comes first holds the lock.
SELECT pg_advisory_xact_lock(hashtextextended('nightgate.schema', 0));

CREATE SCHEMA IF NOT EXISTS nightgate;

-- One row per run. `head` is the summary without its results; it and `state` are null until the run is judged.
CREATE TABLE IF NOT EXISTS nightgate.runs (
    run_id      text COLLATE "C" PRIMARY KEY,
    dag_id      text NOT NULL,
    scale       text NOT NULL,
    state       text,
    finished_at timestamptz,
    head        jsonb,
    recorded_at timestamptz NOT NULL DEFAULT now()
);

-- One row per measurement. `record` is the whole record, the other columns are its keys.
CREATE TABLE IF NOT EXISTS nightgate.results (
    run_id      text COLLATE "C" NOT NULL REFERENCES nightgate.runs ON DELETE CASCADE,
    benchmark   text COLLATE "C" NOT NULL,
    variant     text COLLATE "C" NOT NULL,
    device      text COLLATE "C" NOT NULL,
    status      text NOT NULL,
    judged      boolean NOT NULL,
    fingerprint text,
    measured_at timestamptz NOT NULL,
    record      jsonb NOT NULL,
    PRIMARY KEY (run_id, benchmark, variant, device)
);

-- What a run counts for, and what it did otherwise than the suite (`nightgate.record.Standing`). Rows of before it was
-- kept are nights where Airflow's schedule named them, else nobody knows what was overridden: they do not count.
DO $$ BEGIN
    IF NOT EXISTS (
        SELECT FROM pg_attribute
        WHERE attrelid = 'nightgate.results'::regclass AND attname = 'standing' AND NOT attisdropped
    ) THEN
        ALTER TABLE nightgate.runs ADD COLUMN standing text NOT NULL DEFAULT 'ad-hoc', ADD COLUMN overrides jsonb;
        ALTER TABLE nightgate.results ADD COLUMN standing text NOT NULL DEFAULT 'ad-hoc';
        UPDATE nightgate.runs SET standing = 'night' WHERE starts_with(run_id, 'scheduled__');
        UPDATE nightgate.results SET standing = 'night' WHERE starts_with(run_id, 'scheduled__');
        DROP INDEX IF EXISTS nightgate.runs_by_end, nightgate.runs_by_success, nightgate.results_by_series,
            nightgate.results_measured, nightgate.results_judged;
    END IF;
END $$;

CREATE INDEX IF NOT EXISTS runs_by_age ON nightgate.runs (recorded_at DESC);
CREATE INDEX IF NOT EXISTS runs_judged ON nightgate.runs (standing, finished_at DESC) WHERE state IS NOT NULL;
CREATE INDEX IF NOT EXISTS runs_passed ON nightgate.runs (standing, finished_at DESC) WHERE state = 'pass';
CREATE INDEX IF NOT EXISTS runs_by_standing ON nightgate.runs (standing, recorded_at DESC);
CREATE INDEX IF NOT EXISTS series ON nightgate.results (standing, benchmark, variant, device, measured_at DESC);
CREATE INDEX IF NOT EXISTS series_measured ON nightgate.results (standing, benchmark, variant, device, measured_at DESC)
    WHERE status = 'measured';
CREATE INDEX IF NOT EXISTS series_judged ON nightgate.results (standing, benchmark, variant, device, measured_at DESC)
    WHERE judged;
CREATE INDEX IF NOT EXISTS devices_of_hosts
    ON nightgate.results (standing, benchmark, device, fingerprint, measured_at DESC)
    WHERE judged OR status <> 'measured';
