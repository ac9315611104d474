-- What the cache of each host last held and had counted (`nightgate.artifacts.counted`).
CREATE TABLE nightgate.caches (
    cache   text PRIMARY KEY,
    counted jsonb NOT NULL,
    at      timestamptz NOT NULL DEFAULT clock_timestamp()
);
