-- Drops the oldest finished jobs of a bucket that finished before a point in time, a bounded number.
-- $1 bucket, $2 the point (ms), $3 the most jobs
DELETE FROM finished
WHERE bucket = $1
  AND seq = ANY (ARRAY(
      SELECT seq FROM finished WHERE bucket = $1 AND finished_at < $2 ORDER BY seq LIMIT $3 FOR UPDATE SKIP LOCKED))
