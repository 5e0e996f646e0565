-- Reads the alerts of an incident, oldest first.
-- $1 the incident, $2 the most rows
-- Returns alerts.
SELECT fingerprint, starts_at, ends_at, incident, name, severity, labels, annotations, received_at, heard_at, lapsed
FROM alerts
WHERE incident = $1
ORDER BY starts_at, received_at, fingerprint
LIMIT $2
