-- Takes alerts for ended that nobody has told of since a point in time, as of when they were last told of.
-- $1 the point (ms)
-- Returns alerts.
UPDATE alerts
SET ends_at = heard_at, lapsed = 1
WHERE ends_at IS NULL AND heard_at < $1
RETURNING fingerprint, starts_at, ends_at, incident, name, severity, labels, annotations, received_at, heard_at, lapsed
