-- Weighs a thousand finished jobs of one partition; for large ones.
-- $1 bucket
-- Returns the mean bytes of payload and result together.
SELECT coalesce(avg(octet_length(payload) + coalesce(octet_length(result), 0)), 0)::bigint AS mean_bytes
FROM (SELECT payload, result FROM finished WHERE bucket = $1 ORDER BY seq LIMIT 1000) AS sample
