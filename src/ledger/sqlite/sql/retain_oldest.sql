-- Reads the oldest finished jobs that retention may drop.
-- $1 the most jobs
-- Returns seq, finished_at (ms), bytes.
SELECT seq, finished_at, bytes FROM finished
WHERE state <> 'in_review'
ORDER BY finished_at, seq
LIMIT $1
