-- Reads a page of reviews, those opened last first.
-- $1 only numbers below this, $2 the most rows, $3 queue, $4 type, $5 reason ($3 to $5 null: any), $6 which:
--   open, decided, or one decision
-- Returns reviews.
-- One part answers each kind of question and the other stops at once, so that each kind has its index.
SELECT * FROM (
    SELECT * FROM (
        SELECT number, seq, job_id, queue, type, opened_at, reason, error_class, error_message, proposal, evidence,
               on_approve, decision, decided_at, decided_by, note, decided_proposal
        FROM reviews
        WHERE $6 = 'open'
          AND decision IS NULL
          AND number < $1
          AND ($3 IS NULL OR queue = $3)
          AND ($4 IS NULL OR type = $4)
          AND ($5 IS NULL OR reason = $5)
        ORDER BY number DESC
        LIMIT $2
    ) AS part_0
    UNION ALL
    SELECT * FROM (
        SELECT number, seq, job_id, queue, type, opened_at, reason, error_class, error_message, proposal, evidence,
               on_approve, decision, decided_at, decided_by, note, decided_proposal
        FROM reviews
        WHERE $6 <> 'open'
          AND decision IS NOT NULL
          AND ($6 = 'decided' OR decision = $6)
          AND number < $1
          AND ($3 IS NULL OR queue = $3)
          AND ($4 IS NULL OR type = $4)
          AND ($5 IS NULL OR reason = $5)
        ORDER BY number DESC
        LIMIT $2
    ) AS part_1
) AS every_part
ORDER BY number DESC
LIMIT $2
