-- Who was told of the beginning and of the end of what is wrong, by name (`nightgate.orchestration.notifying`): when one of several could
-- not be told, the others are not told again.
ALTER TABLE nightgate.alerts
    ADD COLUMN told_by text[] NOT NULL DEFAULT '{}',
    ADD COLUMN over_told_by text[] NOT NULL DEFAULT '{}';
