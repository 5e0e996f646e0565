-- Drops incidents that were resolved before a point in time, a bounded number.
-- $1 the point (ms), $2 the most that go
DELETE FROM incidents
WHERE number IN (SELECT number FROM incidents WHERE resolved_at < $1 ORDER BY resolved_at LIMIT $2)
