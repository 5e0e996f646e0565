-- Forgets the nodes that were not heard of for a day: every start has a new id, so they would pile up.
DELETE FROM nodes WHERE heartbeat_at < floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint - 86400000
