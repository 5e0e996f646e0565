-- Writes a reviewer's word.
-- $1 seq, $2 state, $3 result (null: as it was), $4 finished_at (ms)
UPDATE finished
SET state = $2, result = coalesce($3, result), finished_at = $4,
    bytes = length(payload) + coalesce(length(coalesce($3, result)), 0)
WHERE seq = $1
