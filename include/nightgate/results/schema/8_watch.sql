-- The watch over history (`nightgate.watching`).
ALTER TABLE nightgate.results
    ADD COLUMN builds text GENERATED ALWAYS AS (record#>>'{facts,builds}') STORED,
    ADD COLUMN environment text GENERATED ALWAYS AS (record#>>'{facts,provenance,environment}') STORED;

-- With what was measured: every package and its version (`nightgate.environments.lock.Lock`), by its digest.
CREATE TABLE nightgate.environments (
    digest  text COLLATE "C" PRIMARY KEY,
    lock    jsonb NOT NULL,
    kept_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- What a night's candidates measured beside their control, round by round, or why they could not.
CREATE TABLE nightgate.beside (
    run_id    text COLLATE "C" NOT NULL REFERENCES nightgate.runs ON DELETE CASCADE,
    benchmark text COLLATE "C" NOT NULL,
    variant   text COLLATE "C" NOT NULL,
    device    text COLLATE "C" NOT NULL,
    metric    text COLLATE "C" NOT NULL,
    found     jsonb NOT NULL,
    at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (run_id, benchmark, variant, device, metric)
);

-- What is wrong with a suite on a host, from the run that showed it to the one that no longer did. `told_at`: when people were told of
-- its beginning, `over_told_at` of its end; NULL where they are still to be told.
CREATE TABLE nightgate.alerts (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    suite        text COLLATE "C" NOT NULL,
    kind         text NOT NULL CHECK (kind IN ('breach', 'undecided', 'regression')),
    subject      text COLLATE "C" NOT NULL,
    run_id       text COLLATE "C" NOT NULL,
    said         jsonb NOT NULL,
    began_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    told_at      timestamptz,
    over_run_id  text COLLATE "C",
    over_at      timestamptz,
    over_told_at timestamptz
);
CREATE UNIQUE INDEX alerts_that_hold ON nightgate.alerts (suite, kind, subject) WHERE over_at IS NULL;
