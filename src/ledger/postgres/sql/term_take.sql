-- Takes a term that is free or has lapsed, or renews one's own, on the database's own clock.
-- $1 name, $2 holder, $3 how long (ms)
-- Changes a row if the holder has it now.
INSERT INTO terms (name, holder, expires_at)
VALUES ($1, $2, floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint + $3)
ON CONFLICT (name) DO UPDATE
SET holder = excluded.holder, expires_at = excluded.expires_at
WHERE terms.holder = excluded.holder
   OR terms.expires_at <= floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint
