-- Reads a page of incidents, newest first.
-- $1 only numbers below this, $2 only numbers from this on, $3 the most rows, $4 1: only those that fire, 0: only those
--   that do not, 2: any
-- Returns incidents.
SELECT number, name, severity, detected_at, received_at, resolved_at, impact,
       (SELECT count(*) FROM alerts WHERE incident = number) AS alerts,
       (SELECT count(*) FROM alerts WHERE incident = number AND ends_at IS NULL) AS firing,
       (SELECT min(at)
        FROM events
        WHERE kind IN ('pause', 'order') AND at >= detected_at AND (resolved_at IS NULL OR at <= resolved_at)
       ) AS ordered_at,
       (SELECT min(began_at)
        FROM remediations
        WHERE incident = incidents.number AND state NOT IN ('suppressed', 'dry_run')
       ) AS remedied_at
FROM incidents
WHERE number < $1 AND number >= $2 AND ($4 = 2 OR (resolved_at IS NULL) = ($4 = 1))
ORDER BY number DESC
LIMIT $3
