-- Ends a remedy that runs.
-- $1 number, $2 state, $3 words, $4 after, $5 ended_at (ms)
UPDATE remediations SET state = $2, words = $3, after = $4, ended_at = $5 WHERE number = $1 AND state = 'running'
