-- What the steps of a run share though each may work on another host.

-- The files of a run as the host that made them wrote them: raw samples, transcripts, the report. `content` is their zlib
-- stream; of which measurement they are is empty where they are of the whole run.
CREATE TABLE nightgate.files (
    run_id     text COLLATE "C" NOT NULL REFERENCES nightgate.runs ON DELETE CASCADE,
    name       text COLLATE "C" NOT NULL,
    benchmark  text COLLATE "C" NOT NULL DEFAULT '',
    device     text COLLATE "C" NOT NULL DEFAULT '',
    sha256     text NOT NULL,
    content    bytea NOT NULL,
    written_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (run_id, name)
);
ALTER TABLE nightgate.files ALTER COLUMN content SET STORAGE EXTERNAL;

-- What an earlier try of a measurement found. Nothing that was measured is lost when a later try takes its place.
CREATE TABLE nightgate.earlier (
    run_id    text COLLATE "C" NOT NULL REFERENCES nightgate.runs ON DELETE CASCADE,
    benchmark text COLLATE "C" NOT NULL,
    variant   text COLLATE "C" NOT NULL,
    device    text COLLATE "C" NOT NULL,
    record    jsonb NOT NULL,
    kept_at   timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX earlier_of_run ON nightgate.earlier (run_id, benchmark, device, variant);

CREATE FUNCTION nightgate.keep_earlier() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- a row that goes with its run is not kept: whoever deletes a run wants that
    IF TG_OP = 'DELETE' AND NOT EXISTS (SELECT FROM nightgate.runs WHERE run_id = OLD.run_id) THEN
        RETURN NULL;
    END IF;
    INSERT INTO nightgate.earlier (run_id, benchmark, variant, device, record)
    VALUES (OLD.run_id, OLD.benchmark, OLD.variant, OLD.device, OLD.record);
    RETURN NULL;
END
$$;

CREATE TRIGGER replaced AFTER UPDATE ON nightgate.results FOR EACH ROW
    WHEN (OLD.status = 'measured' AND OLD.record#>>'{attempt,id}' IS DISTINCT FROM NEW.record#>>'{attempt,id}')
    EXECUTE FUNCTION nightgate.keep_earlier();
CREATE TRIGGER removed AFTER DELETE ON nightgate.results FOR EACH ROW
    WHEN (OLD.status = 'measured') EXECUTE FUNCTION nightgate.keep_earlier();
