-- Writes a reviewer's word. On a partitioned table this moves the row from the review's own partition
-- to an ordinary one.
-- $1 seq, $2 state, $3 result (null: as it was), $4 finished_at (ms), $5 bucket, $6 error class, $7 error message
UPDATE finished
SET state = $2, result = coalesce($3, result), finished_at = $4, bucket = $5, error_class = $6, error_message = $7
WHERE seq = $1
