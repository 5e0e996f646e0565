-- Sets a setting, or replaces it.
-- $1 kind, $2 name, $3 value (JSON), $4 who, $5 since (ms), $6 until (ms or null)
INSERT INTO settings (kind, name, value, by_whom, since, until)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (kind, name) DO UPDATE
SET value = excluded.value, by_whom = excluded.by_whom, since = excluded.since, until = excluded.until
