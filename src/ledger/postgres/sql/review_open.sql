-- Opens the reviews of lives that have come to rest in review.
-- Arrays of equal length: $1 seq, $2 reason, $3 proposal, $4 evidence, $5 on_approve; $6 the bucket of reviews
INSERT INTO reviews (seq, job_id, queue, type, opened_at, reason, error_class, error_message, proposal, evidence,
                     on_approve)
SELECT finished.seq, finished.id, finished.queue, finished.type, finished.finished_at, opened.reason,
       finished.error_class, finished.error_message, opened.proposal, opened.evidence, opened.on_approve
FROM unnest($1::bigint[], $2::text[], $3::bytea[], $4::bytea[], $5::bytea[])
    AS opened (seq, reason, proposal, evidence, on_approve)
JOIN finished ON finished.seq = opened.seq AND finished.bucket = $6
ORDER BY finished.seq
