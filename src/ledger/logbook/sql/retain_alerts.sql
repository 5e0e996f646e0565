-- Drops alerts that ended before a point in time or whose incident is gone, a bounded number.
-- $1 the point (ms), $2 the most that go
DELETE FROM alerts
WHERE (fingerprint, starts_at) IN (
    SELECT fingerprint, starts_at
    FROM alerts
    WHERE ends_at < $1 OR NOT EXISTS (SELECT number FROM incidents WHERE number = alerts.incident)
    LIMIT $2)
