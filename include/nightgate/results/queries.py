"""The statements of the results store. All names are qualified, so that no search path matters."""

from __future__ import annotations

INSERT_RUN = """
INSERT INTO nightgate.runs (run_id, dag_id, suite, scale, standing, overrides) VALUES (%s, %s, %s, %s, %s, %s::jsonb)
ON CONFLICT DO NOTHING
"""

NOTHING_UNDER_WAY = "DELETE FROM nightgate.under_way WHERE run_id = %s"

UPSERT_RUN = """
INSERT INTO nightgate.runs (run_id, dag_id, suite, scale, standing, overrides, state, finished_at, head)
VALUES (%s, %s, %s, %s, %s, %s::jsonb, %s, %s, %s::jsonb)
ON CONFLICT (run_id) DO UPDATE SET dag_id = excluded.dag_id, suite = excluded.suite, scale = excluded.scale, standing = excluded.standing,
    overrides = excluded.overrides, state = excluded.state, finished_at = excluded.finished_at, head = excluded.head
"""

UPSERT_RESULT = """
INSERT INTO nightgate.results
    (run_id, suite, benchmark, variant, device, status, judged, fingerprint, measured_at, standing, record, dag_id)
SELECT %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s::jsonb, dag_id FROM nightgate.runs WHERE run_id = %s
ON CONFLICT (run_id, benchmark, variant, device) DO UPDATE SET suite = excluded.suite, status = excluded.status, judged = excluded.judged,
    fingerprint = excluded.fingerprint, measured_at = excluded.measured_at, standing = excluded.standing, record = excluded.record,
    dag_id = excluded.dag_id
"""

KEEP_ENVIRONMENT = "INSERT INTO nightgate.environments (digest, lock) VALUES (%s, %s::jsonb) ON CONFLICT DO NOTHING"

ENVIRONMENTS = "SELECT digest, lock FROM nightgate.environments WHERE digest = ANY(%s)"

RECORDS = "SELECT record FROM nightgate.results WHERE (run_id, benchmark, device) = (%s, %s, %s) ORDER BY variant"

REMOVE_OTHERS = """
DELETE FROM nightgate.results WHERE run_id = %(run)s
AND (%(benchmark)s::text IS NULL OR (benchmark, device) = (%(benchmark)s, %(device)s))
AND (benchmark, device, variant) NOT IN (SELECT * FROM unnest(%(benchmarks)s::text[], %(devices)s::text[], %(variants)s::text[]))
"""

REMOVE_FILES = "DELETE FROM nightgate.files WHERE (run_id, benchmark, device) = (%s, %s, %s) AND name <> ALL(%s)"

UPSERT_FILE = """
INSERT INTO nightgate.files (run_id, name, benchmark, device, sha256, content) VALUES (%s, %s, %s, %s, %s, %s)
ON CONFLICT (run_id, name) DO UPDATE SET benchmark = excluded.benchmark, device = excluded.device, sha256 = excluded.sha256,
    content = excluded.content, written_at = excluded.written_at
"""

UPSERT_CACHE = """
INSERT INTO nightgate.caches (cache, counted) VALUES (%s, %s::jsonb)
ON CONFLICT (cache) DO UPDATE SET counted = excluded.counted, at = excluded.at
"""

# of a host the cache that it used last
CACHES = """
SELECT DISTINCT ON (counted->>'host') counted FROM nightgate.caches WHERE at > now() - %(forget)s::interval
ORDER BY counted->>'host', at DESC
"""

FILES = "SELECT name, sha256 FROM nightgate.files WHERE run_id = %s ORDER BY name"

COUNTING = """
SELECT CASE WHEN EXISTS (SELECT FROM nightgate.runs WHERE suite = %s AND standing = 'night') THEN 'night' ELSE 'stand-in' END
"""

# what counts: of each suite the nights, and as long as it has none the runs that may stand in for one
# (`nightgate.record.Standing`). The suites are found by a loose index scan, see below.
_COUNTING = """
suites AS (
    (SELECT suite FROM nightgate.runs ORDER BY suite LIMIT 1)
    UNION ALL
    SELECT following.suite FROM suites, LATERAL (
        SELECT suite FROM nightgate.runs WHERE suite > suites.suite ORDER BY suite LIMIT 1
    ) AS following
), counting AS (
    SELECT suite, CASE WHEN EXISTS (
        SELECT FROM nightgate.runs AS own WHERE own.suite = suites.suite AND own.standing = 'night'
    ) THEN 'night' ELSE 'stand-in' END AS standing FROM suites
)
"""

TIME = """to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')"""
"""A time as the records write it."""

RUN_COLUMNS = (
    "run_id, dag_id, scale, state, head->>'started_at', head->>'finished_at', standing, overrides, recorded_at, suite"
)

RUNS = f"SELECT {RUN_COLUMNS} FROM nightgate.runs ORDER BY recorded_at DESC LIMIT %s"

RUN = f"SELECT {RUN_COLUMNS} FROM nightgate.runs WHERE run_id = %s"

BESIDE = """
WITH own AS (SELECT recorded_at FROM nightgate.runs WHERE run_id = %(run)s), others AS (
    SELECT run_id, recorded_at FROM nightgate.runs
    WHERE suite = %(suite)s AND scale = %(scale)s AND standing = %(standing)s AND run_id <> %(run)s
)
SELECT (SELECT run_id FROM others, own WHERE others.recorded_at <= own.recorded_at ORDER BY others.recorded_at DESC LIMIT 1),
       (SELECT run_id FROM others, own WHERE others.recorded_at > own.recorded_at ORDER BY others.recorded_at LIMIT 1)
"""

NIGHTS = f"""
WITH RECURSIVE {_COUNTING} SELECT own.* FROM counting, LATERAL (
    SELECT {RUN_COLUMNS} FROM nightgate.runs WHERE suite = counting.suite AND standing = counting.standing
    ORDER BY recorded_at DESC LIMIT %s
) AS own ORDER BY own.recorded_at DESC
"""

OTHERS = f"""
WITH RECURSIVE {_COUNTING} SELECT {RUN_COLUMNS} FROM nightgate.runs
WHERE (suite, standing) NOT IN (SELECT suite, standing FROM counting) ORDER BY recorded_at DESC LIMIT %s
"""

KEPT_DETAIL = """jsonb_strip_nulls(jsonb_build_object(
    'data', jsonb_build_object('digest', record->'detail'->'data'->'digest'),
    'clips', jsonb_build_object('sha256', record->'detail'->'clips'->'sha256'),
    'model', jsonb_build_object('sha256', record->'detail'->'model'->'sha256')))"""
"""Of the detail of a record of version 1: the digests of its data."""

RUN_RESULTS = f"""
SELECT run_id, (record - 'detail') || jsonb_build_object('detail', {KEPT_DETAIL})
FROM nightgate.results WHERE run_id = ANY(%s)
ORDER BY benchmark, device, variant
"""

RUN_VERDICTS = """
SELECT run_id, jsonb_build_object(
    'suite', suite, 'benchmark', benchmark, 'variant', variant, 'device', device, 'status', status, 'gated', record->'gated',
    'reason', record->'reason', 'host', record->'host', 'objectives', record->'objectives', 'settings', '{}'::jsonb,
    'facts', jsonb_build_object('noise', jsonb_build_object('disturbed', disturbed)))
FROM nightgate.results WHERE run_id = ANY(%s)
ORDER BY benchmark, device, variant
"""

SUMMARY_RESULTS = "SELECT record FROM nightgate.results WHERE run_id = %s ORDER BY benchmark, device, variant"

LAST_FINISHED = f"SELECT {RUN_COLUMNS} FROM nightgate.runs WHERE state IS NOT NULL ORDER BY finished_at DESC LIMIT 1"

# The DAGs that a suite's nights are of: where it names hosts, each has one (`nightgate.airflow.nightlies`). One that has had no night for
# so long while others had is no longer there, and says nothing of the suite.
_DAGS = f"""
{_COUNTING}, known AS (
    SELECT counting.suite, counting.standing, first.dag_id FROM counting, LATERAL (
        SELECT dag_id FROM nightgate.runs WHERE suite = counting.suite AND standing = counting.standing ORDER BY dag_id LIMIT 1
    ) AS first
    UNION ALL
    SELECT known.suite, known.standing, following.dag_id FROM known, LATERAL (
        SELECT dag_id FROM nightgate.runs WHERE suite = known.suite AND standing = known.standing AND dag_id > known.dag_id
        ORDER BY dag_id LIMIT 1
    ) AS following
), dags AS (
    SELECT suite, standing, dag_id FROM (
        SELECT known.*, newest.at, max(newest.at) OVER (PARTITION BY suite) AS last FROM known, LATERAL (
            SELECT recorded_at AS at FROM nightgate.runs
            WHERE suite = known.suite AND standing = known.standing AND dag_id = known.dag_id ORDER BY recorded_at DESC LIMIT 1
        ) AS newest
    ) AS aged WHERE at > last - interval '8 days'
)
"""

LAST_NIGHTS = f"""
WITH RECURSIVE {_DAGS} SELECT last.* FROM dags, LATERAL (
    SELECT {RUN_COLUMNS} FROM nightgate.runs
    WHERE state IS NOT NULL AND suite = dags.suite AND standing = dags.standing AND dag_id = dags.dag_id
    ORDER BY finished_at DESC LIMIT 1
) AS last ORDER BY dags.suite, dags.dag_id
"""

LAST_SUCCESSES = f"""
WITH RECURSIVE {_DAGS} SELECT dags.suite, dags.dag_id, last.finished_at FROM dags, LATERAL (
    SELECT head->>'finished_at' AS finished_at FROM nightgate.runs AS own
    WHERE state = 'pass' AND suite = dags.suite AND standing = dags.standing AND dag_id = dags.dag_id
    ORDER BY own.finished_at DESC LIMIT 1
) AS last ORDER BY dags.suite, dags.dag_id
"""

# of a suite whose nights have ended for good nothing is said any more
REGRESSED = """
SELECT jsonb_build_object('suite', suite, 'benchmark', said->>'benchmark', 'variant', said->>'variant', 'device', said->>'device',
    'metric', said->>'metric', 'scale', substring(subject FROM ' ([^ @]*)@[^@]*$'), 'host', substring(subject FROM '@([^@]*)$'))
FROM nightgate.alerts AS own WHERE kind = 'regression' AND over_at IS NULL
AND EXISTS (SELECT FROM nightgate.runs WHERE suite = own.suite AND finished_at > now() - %(forget)s::interval) ORDER BY suite, subject
"""

# A loose index scan (https://wiki.postgresql.org/wiki/Loose_indexscan): one probe for each series of a DAG, three for its rows.
# A verdict is gone when a newer run that counts has looked at the same device of the same host and has none for it.
NEWEST = f"""
WITH RECURSIVE {_DAGS}, series AS (
    SELECT dags.standing, dags.dag_id, first.* FROM dags, LATERAL (
        SELECT suite, benchmark, variant, device FROM nightgate.results
        WHERE suite = dags.suite AND standing = dags.standing AND dag_id = dags.dag_id
        ORDER BY benchmark, variant, device LIMIT 1
    ) AS first
    UNION ALL
    SELECT series.standing, series.dag_id, following.* FROM series, LATERAL (
        SELECT suite, benchmark, variant, device FROM nightgate.results
        WHERE suite = series.suite AND standing = series.standing AND dag_id = series.dag_id
          AND (benchmark, variant, device) > (series.benchmark, series.variant, series.device)
        ORDER BY benchmark, variant, device LIMIT 1
    ) AS following
)
SELECT measured.run_id, measured.record, judged.run_id,
    CASE WHEN looked.run_id IS NULL OR looked.run_id = judged.run_id THEN judged.record END
FROM series
LEFT JOIN LATERAL (
    SELECT run_id, record - 'detail' AS record FROM nightgate.results
    WHERE suite = series.suite AND standing = series.standing AND dag_id = series.dag_id
      AND (benchmark, variant, device) = (series.benchmark, series.variant, series.device)
      AND status = 'measured' AND measured_at > now() - %(forget)s::interval
    ORDER BY measured_at DESC LIMIT 1
) AS measured ON true
LEFT JOIN LATERAL (
    SELECT run_id, fingerprint, record - 'detail' AS record FROM nightgate.results
    WHERE suite = series.suite AND standing = series.standing AND dag_id = series.dag_id
      AND (benchmark, variant, device) = (series.benchmark, series.variant, series.device)
      AND judged AND measured_at > now() - %(forget)s::interval
    ORDER BY measured_at DESC LIMIT 1
) AS judged ON true
LEFT JOIN LATERAL (
    SELECT run_id FROM nightgate.results AS own
    WHERE suite = series.suite AND standing = series.standing AND dag_id = series.dag_id
      AND benchmark = series.benchmark AND device = series.device
      AND fingerprint = judged.fingerprint AND (own.judged OR status <> 'measured')
    ORDER BY measured_at DESC LIMIT 1
) AS looked ON true
ORDER BY series.suite, series.benchmark, series.device, series.variant, series.dag_id
"""

ORIGINS = "SELECT run_id, scale, dag_id FROM nightgate.runs WHERE run_id = ANY(%s)"

# What the past of a record is looked for by, see `nightgate.results.past`: a row for each in `wanted`, as JSON.
_WANTED = """
wanted AS (
    SELECT * FROM jsonb_to_recordset(%(wanted)s::jsonb) AS wanted(
        place int, run_id text, suite text, scale text, benchmark text, variant text, device text, fingerprint text,
        night boolean, before timestamptz, works text[], metric text, facts boolean)
)
"""
_OF_THE_SAME = """
    own.suite = wanted.suite AND own.benchmark = wanted.benchmark AND own.variant = wanted.variant AND own.device = wanted.device
    AND own.fingerprint = wanted.fingerprint AND (own.standing = 'night') = wanted.night AND own.status = 'measured'
"""

# Again a loose index scan: of the nights of which works may be looked for, one of each, with what tells whether it is the same.
WORKS = f"""
WITH RECURSIVE {_WANTED}, works AS (
    SELECT wanted.place, first.* FROM wanted, LATERAL (
        SELECT own.work, own.run_id FROM nightgate.results AS own WHERE {_OF_THE_SAME} ORDER BY own.work LIMIT 1
    ) AS first
    UNION ALL
    SELECT works.place, following.* FROM works JOIN wanted USING (place), LATERAL (
        SELECT own.work, own.run_id FROM nightgate.results AS own WHERE {_OF_THE_SAME} AND own.work > works.work
        ORDER BY own.work LIMIT 1
    ) AS following
)
SELECT works.place, works.work, one.record FROM works JOIN wanted USING (place), LATERAL (
    SELECT jsonb_build_object(
        'suite', own.suite, 'benchmark', own.benchmark, 'variant', own.variant, 'device', own.device, 'status', own.status,
        'settings', own.record->'settings', 'facts', jsonb_build_object('inputs', coalesce(own.record#>'{{facts,inputs}}', '{{}}')),
        'detail', {KEPT_DETAIL.replace("record", "own.record")}) AS record
    FROM nightgate.results AS own
    WHERE own.run_id = works.run_id AND own.benchmark = wanted.benchmark AND own.variant = wanted.variant AND own.device = wanted.device
    LIMIT 1
) AS one
"""

NOTED = """
    note.withdrawn_at IS NULL AND note.run_id = own.run_id
    AND note.benchmark IN ('', own.benchmark) AND note.variant IN ('', own.variant) AND note.device IN ('', own.device)
"""
"""Whether a ``note`` holds for the result ``own``."""

NIGHTS_BEFORE = f"""
WITH {_WANTED}, baselines AS (
    SELECT wanted.place, max(own.measured_at) AS since
    FROM nightgate.notes AS note, nightgate.results AS own JOIN nightgate.runs USING (run_id), wanted
    WHERE note.kind = 'accepted' AND {NOTED} AND {_OF_THE_SAME} AND runs.scale = wanted.scale
      AND (own.run_id = wanted.run_id OR own.measured_at < wanted.before)
    GROUP BY wanted.place
)
SELECT wanted.place, night.* FROM wanted LEFT JOIN baselines USING (place), LATERAL (
    SELECT own.run_id, {TIME.format("own.measured_at")}, coalesce(own.metrics, '{{}}')::text, nullif(own.looks, '[]')::text,
        nullif(own.objectives, '[]')::text, own.disturbed, own.versions, own.builds, own.environment
    FROM nightgate.results AS own JOIN nightgate.runs USING (run_id)
    WHERE {_OF_THE_SAME} AND own.work = ANY(wanted.works) AND runs.scale = wanted.scale AND own.run_id <> wanted.run_id
      AND own.measured_at < wanted.before AND own.measured_at >= coalesce(baselines.since, '-infinity')
      AND NOT EXISTS (SELECT FROM nightgate.notes AS note WHERE note.kind = 'excluded' AND {NOTED})
    ORDER BY own.measured_at DESC, own.run_id DESC LIMIT %(most)s
) AS night
"""
"""Newest first."""

COURSES = f"""
WITH {_WANTED} SELECT wanted.place, night.* FROM wanted, LATERAL (
    SELECT own.run_id, {TIME.format("own.measured_at")}, own.metrics->wanted.metric,
        (SELECT one FROM jsonb_array_elements(own.objectives) AS one WHERE one->>'metric' = wanted.metric LIMIT 1),
        own.disturbed, own.versions,
        CASE WHEN wanted.facts THEN own.record#>'{{facts,noise}}' END,
        CASE WHEN wanted.facts THEN own.record#>>'{{facts,provenance,revision}}' END
    FROM nightgate.results AS own JOIN nightgate.runs USING (run_id)
    WHERE {_OF_THE_SAME} AND own.work = ANY(wanted.works) AND runs.scale = wanted.scale AND own.measured_at <= wanted.before
    ORDER BY own.measured_at DESC, own.run_id DESC LIMIT %(most)s
) AS night
"""
"""One metric of each series, newest night first; what was excluded or came before an accepted baseline too."""

NEWEST_OF_SERIES = """
SELECT own.run_id, own.standing = 'night', runs.scale, own.record FROM nightgate.results AS own JOIN nightgate.runs USING (run_id)
WHERE own.status = 'measured' AND own.suite = %(suite)s AND %(scale)s IN ('', runs.scale) AND own.benchmark = %(benchmark)s
  AND own.variant = %(variant)s AND own.device = %(device)s AND %(host)s IN ('', own.fingerprint)
ORDER BY own.standing = 'night' DESC, own.standing = 'stand-in' DESC, own.measured_at DESC LIMIT 1
"""
