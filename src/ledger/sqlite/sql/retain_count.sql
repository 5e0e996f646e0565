-- Counts what retention may drop.
-- Returns jobs, bytes of payloads and results.
SELECT count(*) AS jobs, coalesce(sum(bytes), 0) AS bytes FROM finished WHERE state <> 'in_review'
