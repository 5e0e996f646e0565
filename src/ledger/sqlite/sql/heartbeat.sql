-- Notes that a node is alive.
-- $1 id, $2 name, $3 started_at (ms), $4 status, $5 the process's clock (ms)
INSERT INTO nodes (id, name, started_at, heartbeat_at, status)
VALUES ($1, $2, $3, $5, $4)
ON CONFLICT (id) DO UPDATE
SET name = excluded.name, started_at = excluded.started_at, heartbeat_at = excluded.heartbeat_at,
    status = excluded.status
