-- Drops keys whose jobs rested before a point in time and are gone, a bounded number.
-- $1 the point (ms), $2 the most keys
DELETE FROM keys
WHERE key IN (
    SELECT key
    FROM keys
    WHERE rest_at < $1
      AND NOT EXISTS (SELECT 1 FROM finished WHERE finished.id = keys.job_id)
    ORDER BY rest_at
    LIMIT $2)
