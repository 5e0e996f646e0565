-- Keeps what an incident cost, if it still is resolved as of then.
-- $1 number, $2 resolved_at (ms), $3 the figures
UPDATE incidents SET impact = $3 WHERE number = $1 AND resolved_at = $2
