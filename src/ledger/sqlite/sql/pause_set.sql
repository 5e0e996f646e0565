-- Sets a pause, or replaces it where something differs.
-- $1 kind (queue or type), $2 name, $3 who, $4 why, $5 since (ms)
INSERT INTO pauses (kind, name, by_whom, reason, since)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (kind, name) DO UPDATE
SET by_whom = excluded.by_whom, reason = excluded.reason, since = excluded.since
WHERE pauses.by_whom <> excluded.by_whom OR pauses.reason <> excluded.reason OR pauses.since <> excluded.since
