-- Drops the oldest strays that finished before a point in time, a bounded number.
-- $1 the point (ms), $2 the most jobs
DELETE FROM finished_default
WHERE seq = ANY (ARRAY(
    SELECT seq FROM finished_default WHERE finished_at < $1 ORDER BY finished_at, seq LIMIT $2
    FOR UPDATE SKIP LOCKED))
