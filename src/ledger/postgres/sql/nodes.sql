-- Reads the nodes that were heard of within an hour, on the database's own clock.
-- $1 after how long a silent node counts as gone (ms)
-- Returns id, name, started_at, heartbeat_at, status, alive.
SELECT id, name, started_at, heartbeat_at, status,
       heartbeat_at > floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint - $1 AS alive
FROM nodes
WHERE heartbeat_at > floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint - 3600000
ORDER BY started_at, id
