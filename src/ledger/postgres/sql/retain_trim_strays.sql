-- Drops the oldest strays that finished before a point in time, a bounded number, and their reviews.
-- $1 the point (ms), $2 the most jobs
WITH going AS MATERIALIZED (
    SELECT seq, id FROM finished_default WHERE finished_at < $1 ORDER BY finished_at, seq LIMIT $2
    FOR UPDATE SKIP LOCKED
),
forgotten AS (
    DELETE FROM reviews USING going WHERE reviews.job_id = going.id AND reviews.decision IS NOT NULL
)
DELETE FROM finished_default WHERE seq = ANY (ARRAY(SELECT seq FROM going))
