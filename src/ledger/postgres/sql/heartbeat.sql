-- Notes that a node is alive and reads the nodes that were heard of within an hour, on the database's own clock.
-- $1 id, $2 name, $3 started_at (ms), $4 status, $5 after how long a silent node counts as gone (ms)
-- Returns id, name, started_at, heartbeat_at, status, alive, epoch; the node itself is always among them.
WITH clock AS MATERIALIZED (
    SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now
),
beat AS (
    INSERT INTO nodes (id, name, started_at, heartbeat_at, status)
    SELECT $1, $2, $3, clock.now, $4 FROM clock
    ON CONFLICT (id) DO UPDATE
    SET name = excluded.name, started_at = excluded.started_at, heartbeat_at = excluded.heartbeat_at,
        status = excluded.status
    RETURNING id, name, started_at, heartbeat_at, status
),
heard AS (
    SELECT id, name, started_at, heartbeat_at, status FROM beat
    UNION ALL
    -- The statement reads the table as it was before its own beat.
    SELECT id, name, started_at, heartbeat_at, status FROM nodes WHERE id <> $1
)
SELECT heard.id, heard.name, heard.started_at, heard.heartbeat_at, heard.status,
       heard.heartbeat_at > clock.now - $5 AS alive, meta.epoch
FROM heard, clock, meta
WHERE heard.heartbeat_at > clock.now - 3600000
ORDER BY heard.started_at, heard.id
