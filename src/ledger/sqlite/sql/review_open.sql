-- Opens the review of a life that has come to rest in review.
-- $1 seq, $2 reason, $3 proposal, $4 evidence, $5 on_approve
INSERT INTO reviews (seq, job_id, queue, type, opened_at, reason, error_class, error_message, proposal, evidence,
                     on_approve)
SELECT seq, id, queue, type, finished_at, $2, error_class, error_message, $3, $4, $5
FROM finished
WHERE seq = $1
