-- Drops keys whose jobs rested before a point in time and are gone, a bounded number.
-- $1 the point (ms), $2 the most keys
DELETE FROM keys
WHERE key = ANY (ARRAY(
    SELECT key
    FROM keys
    WHERE rest_at < $1
      AND (SELECT finished.seq FROM finished WHERE finished.id = keys.job_id LIMIT 1) IS NULL
    ORDER BY rest_at
    LIMIT $2
    FOR UPDATE SKIP LOCKED))
