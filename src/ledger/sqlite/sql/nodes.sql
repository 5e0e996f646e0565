-- Reads the nodes that were heard of within an hour.
-- $1 after how long a silent node counts as gone (ms), $2 the process's clock (ms)
-- Returns id, name, started_at, heartbeat_at, status, alive.
SELECT id, name, started_at, heartbeat_at, status, heartbeat_at > $2 - $1 AS alive
FROM nodes
WHERE heartbeat_at > $2 - 3600000
ORDER BY started_at, id
