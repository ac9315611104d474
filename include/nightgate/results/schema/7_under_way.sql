-- What is at work, as its step last said it (`nightgate.results.under_way`); its row goes when the step ends. `night` is what
-- the steps of the whole run will take: [[benchmark, device, seconds of prepare, seconds of measure], ...].
CREATE TABLE nightgate.under_way (
    run_id    text COLLATE "C" NOT NULL REFERENCES nightgate.runs ON DELETE CASCADE,
    benchmark text COLLATE "C" NOT NULL,
    device    text COLLATE "C" NOT NULL,
    step      text NOT NULL,
    host      text NOT NULL,
    stage     text NOT NULL,
    seconds   double precision NOT NULL,
    expected  double precision,
    night     jsonb NOT NULL,
    told_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (run_id, benchmark, device)
);
