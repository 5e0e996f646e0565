-- Reads the latest reviews of one job, newest first.
-- $1 the job, $2 the most rows
-- Returns reviews.
SELECT number, seq, job_id, queue, type, opened_at, reason, error_class, error_message, proposal, evidence,
       on_approve, decision, decided_at, decided_by, note, decided_proposal
FROM reviews
WHERE job_id = $1
ORDER BY number DESC
LIMIT $2
