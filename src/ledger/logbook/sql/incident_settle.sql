-- Resolves an incident if none of its alerts fires.
-- $1 number
UPDATE incidents
SET resolved_at = (SELECT max(ends_at) FROM alerts WHERE incident = $1), impact = NULL
WHERE number = $1 AND NOT EXISTS (SELECT incident FROM alerts WHERE incident = $1 AND ends_at IS NULL)
