-- Notes that a node is alive, on the database's own clock.
-- $1 id, $2 name, $3 started_at (ms), $4 status
INSERT INTO nodes (id, name, started_at, heartbeat_at, status)
VALUES ($1, $2, $3, floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint, $4)
ON CONFLICT (id) DO UPDATE
SET name = excluded.name, started_at = excluded.started_at, heartbeat_at = excluded.heartbeat_at,
    status = excluded.status
