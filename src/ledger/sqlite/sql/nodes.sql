-- Reads the nodes that were heard of within an hour.
-- $1 after how long a silent node counts as gone (ms), $2 the process's clock (ms)
-- Returns id, name, started_at, heartbeat_at, status, alive, epoch.
SELECT nodes.id, nodes.name, nodes.started_at, nodes.heartbeat_at, nodes.status,
       nodes.heartbeat_at > $2 - $1 AS alive, meta.epoch
FROM nodes, meta
WHERE nodes.heartbeat_at > $2 - 3600000
ORDER BY nodes.started_at, nodes.id
