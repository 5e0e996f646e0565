-- Counts the finished jobs that lie in no partition of their own: the clock was off, or a partition
-- could not be made in time.
-- Returns jobs, bytes of payloads and results, oldest finished_at (ms, null when empty).
SELECT count(*) AS jobs,
       coalesce(sum(octet_length(payload) + coalesce(octet_length(result), 0)), 0)::bigint AS bytes,
       min(finished_at) AS oldest
FROM finished_default
