-- Drops the oldest finished jobs of a bucket that finished before a point in time, a bounded number, and
-- their reviews.
-- $1 bucket, $2 the point (ms), $3 the most jobs
WITH going AS MATERIALIZED (
    SELECT seq, id FROM finished WHERE bucket = $1 AND finished_at < $2 ORDER BY seq LIMIT $3 FOR UPDATE SKIP LOCKED
),
forgotten AS (
    DELETE FROM reviews USING going WHERE reviews.job_id = going.id AND reviews.decision IS NOT NULL
)
DELETE FROM finished WHERE bucket = $1 AND seq = ANY (ARRAY(SELECT seq FROM going))
