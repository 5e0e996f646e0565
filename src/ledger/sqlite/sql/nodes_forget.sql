-- Forgets the nodes that were not heard of for a day: every start has a new id, so they would pile up.
-- $1 the process's clock (ms)
DELETE FROM nodes WHERE heartbeat_at < $1 - 86400000
