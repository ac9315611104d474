-- What a run counts for, and what it did otherwise than the suite (`nightgate.record.Standing`). Rows of before it was
-- kept are nights where Airflow's schedule named them, else nobody knows what was overridden: they do not count.
ALTER TABLE nightgate.runs ADD COLUMN standing text NOT NULL DEFAULT 'ad-hoc', ADD COLUMN overrides jsonb;
ALTER TABLE nightgate.results ADD COLUMN standing text NOT NULL DEFAULT 'ad-hoc';
UPDATE nightgate.runs SET standing = 'night' WHERE starts_with(run_id, 'scheduled__');
UPDATE nightgate.results SET standing = 'night' WHERE starts_with(run_id, 'scheduled__');
DROP INDEX IF EXISTS nightgate.runs_by_end, nightgate.runs_by_success, nightgate.results_by_series,
    nightgate.results_measured, nightgate.results_judged;
