-- Takes a term that is free or has lapsed, or renews one's own.
-- $1 name, $2 holder, $3 how long (ms), $4 the process's clock (ms)
-- Changes a row if the holder has it now.
INSERT INTO terms (name, holder, expires_at)
VALUES ($1, $2, $4 + $3)
ON CONFLICT (name) DO UPDATE
SET holder = excluded.holder, expires_at = excluded.expires_at
WHERE terms.holder = excluded.holder OR terms.expires_at <= $4
