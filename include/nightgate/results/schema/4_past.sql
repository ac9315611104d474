-- Metrics as they were measured, before they were judged: the interval is that of the run alone (`nightgate.record.Metric`).
CREATE FUNCTION nightgate.as_measured(metrics jsonb) RETURNS jsonb IMMUTABLE STRICT PARALLEL SAFE LANGUAGE sql AS $$
    SELECT coalesce(jsonb_strip_nulls(jsonb_object_agg(key, (CASE
        WHEN coalesce(value->'between', 'null') = 'null' THEN value
        ELSE value || jsonb_build_object('ci95', value->'within95') END) - '{between,within95}'::text[])), '{}')
    FROM jsonb_each(metrics)
$$;

-- What a night is judged by: the nights of its series before it (`nightgate.results.past`). The server takes these out of
-- the record itself. `work` is the same where settings and inputs are, to the letter; which of them make one series is
-- decided where the settings' defaults are known.
ALTER TABLE nightgate.results
    ADD COLUMN work text COLLATE "C" NOT NULL GENERATED ALWAYS AS (md5(
        coalesce(record->>'settings', '') || coalesce(record#>>'{facts,inputs}', '')
        || coalesce(record#>>'{detail,data,digest}', '') || coalesce(record#>>'{detail,clips,sha256}', '')
        || coalesce(record#>>'{detail,model,sha256}', ''))) STORED,
    ADD COLUMN metrics jsonb GENERATED ALWAYS AS (nightgate.as_measured(record->'metrics')) STORED,
    ADD COLUMN looks jsonb GENERATED ALWAYS AS (record->'looks') STORED,
    ADD COLUMN objectives jsonb GENERATED ALWAYS AS (record->'objectives') STORED,
    ADD COLUMN versions text GENERATED ALWAYS AS (record#>>'{facts,provenance,versions}') STORED,
    ADD COLUMN disturbed text GENERATED ALWAYS AS (record#>>'{facts,noise,disturbed}') STORED;

CREATE INDEX works_of_series
    ON nightgate.results (suite, benchmark, variant, device, fingerprint, (standing = 'night'), work)
    WHERE status = 'measured';
CREATE INDEX nights_of_series
    ON nightgate.results (suite, benchmark, variant, device, fingerprint, (standing = 'night'), measured_at DESC) INCLUDE (work)
    WHERE status = 'measured';

-- What people have said of results: 'excluded', or 'accepted' as a new baseline. An empty benchmark, variant or device is
-- any. Nothing is deleted: what no longer holds is withdrawn.
CREATE TABLE nightgate.notes (
    kind             text NOT NULL CHECK (kind IN ('excluded', 'accepted')),
    run_id           text COLLATE "C" NOT NULL REFERENCES nightgate.runs ON DELETE CASCADE,
    benchmark        text COLLATE "C" NOT NULL DEFAULT '',
    variant          text COLLATE "C" NOT NULL DEFAULT '',
    device           text COLLATE "C" NOT NULL DEFAULT '',
    reason           text NOT NULL,
    noted_by         text NOT NULL,
    noted_at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    withdrawn_reason text,
    withdrawn_by     text,
    withdrawn_at     timestamptz,
    PRIMARY KEY (run_id, kind, benchmark, variant, device, noted_at)
);
