CREATE SCHEMA IF NOT EXISTS nightgate;

-- One row per run. `head` is the summary without its results; it and `state` are null until the run is judged.
CREATE TABLE nightgate.runs (
    run_id      text COLLATE "C" PRIMARY KEY,
    dag_id      text NOT NULL,
    scale       text NOT NULL,
    state       text,
    finished_at timestamptz,
    head        jsonb,
    recorded_at timestamptz NOT NULL DEFAULT now()
);

-- One row per measurement. `record` is the whole record, the other columns are its keys.
CREATE TABLE nightgate.results (
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

CREATE INDEX runs_by_age ON nightgate.runs (recorded_at DESC);
