-- Counts the finished jobs of one partition exactly; for small ones.
-- $1 bucket
-- Returns jobs, bytes of payloads and results, oldest finished_at (ms, null when empty).
SELECT count(*) AS jobs,
       coalesce(sum(octet_length(payload) + coalesce(octet_length(result), 0)), 0)::bigint AS bytes,
       min(finished_at) AS oldest
FROM finished
WHERE bucket = $1
