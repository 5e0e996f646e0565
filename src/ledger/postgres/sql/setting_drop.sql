-- Drops a setting, unless a later one stands there by now.
-- $1 kind, $2 name, $3 the since (ms) that was read
DELETE FROM settings WHERE kind = $1 AND name = $2 AND since <= $3
