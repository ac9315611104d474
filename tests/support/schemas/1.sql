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

CREATE INDEX IF NOT EXISTS runs_by_age ON nightgate.runs (recorded_at DESC);
CREATE INDEX IF NOT EXISTS runs_by_end ON nightgate.runs (finished_at DESC) WHERE state IS NOT NULL;
CREATE INDEX IF NOT EXISTS runs_by_success ON nightgate.runs (finished_at DESC) WHERE state = 'pass';
CREATE INDEX IF NOT EXISTS results_by_series ON nightgate.results (benchmark, variant, device, measured_at DESC);
CREATE INDEX IF NOT EXISTS results_measured ON nightgate.results (benchmark, variant, device, measured_at DESC)
    WHERE status = 'measured';
CREATE INDEX IF NOT EXISTS results_judged ON nightgate.results (benchmark, variant, device, measured_at DESC)
    WHERE judged;
