-- Ends remedies that still run although they began before a point in time: who carried them out is gone.
-- $1 the point (ms), $2 words, $3 now (ms)
UPDATE remediations SET state = 'failed', words = $2, ended_at = $3 WHERE state = 'running' AND began_at < $1
