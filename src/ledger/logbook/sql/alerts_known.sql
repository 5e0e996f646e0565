-- Reads the occurrences of an alert that a note may be about: those that fire, and those since a point in time.
-- $1 fingerprint, $2 the point (ms)
-- Returns alerts.
SELECT fingerprint, starts_at, ends_at, incident, name, severity, labels, annotations, received_at, heard_at, lapsed
FROM alerts
WHERE fingerprint = $1 AND (ends_at IS NULL OR starts_at >= $2)
