-- Opens an incident.
-- $1 name, $2 severity, $3 detected_at (ms), $4 received_at (ms), $5 resolved_at (ms or null)
-- Returns number.
INSERT INTO incidents (name, severity, detected_at, received_at, resolved_at)
VALUES ($1, $2, $3, $4, $5)
RETURNING number
