-- Reads the incidents that an alert may belong to: those that are not resolved, or were later than a point in time.
-- $1 the point (ms)
-- Returns number, name, severity, detected_at, received_at, resolved_at, firing (count), last_end (ms or null).
SELECT number, name, severity, detected_at, received_at, resolved_at,
       (SELECT count(*) FROM alerts WHERE incident = number AND ends_at IS NULL) AS firing,
       (SELECT max(ends_at) FROM alerts WHERE incident = number) AS last_end
FROM incidents
WHERE resolved_at IS NULL OR resolved_at >= $1
ORDER BY number DESC
LIMIT 100
