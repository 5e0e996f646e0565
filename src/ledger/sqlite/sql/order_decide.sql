-- Writes a reviewer's word.
-- $1 seq, $2 state, $3 result (null: as it was), $4 finished_at (ms), $5 error class, $6 error message
UPDATE finished
SET state = $2, result = coalesce($3, result), finished_at = $4, error_class = $5, error_message = $6,
    bytes = length(payload) + coalesce(length(coalesce($3, result)), 0)
WHERE seq = $1
