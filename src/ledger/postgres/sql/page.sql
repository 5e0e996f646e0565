-- Reads a page of jobs, newest first, live and at rest together in one snapshot.
-- $1 only seqs below this, $2 the most rows, $3 queue, $4 type, $5 error class, $6 a label as it stands in
--   the text of the labels, "name":"value" ($3 to $6 null: any), $7 now (ms), $8 which live rows: none, any,
--   ready, scheduled or retrying, $9 which rows at rest: none, any, or a state
-- Returns whole jobs.
-- One part answers each kind of question and the others stop at once, so that each kind has its index:
-- nearly every job succeeds, so those that did not are found through a small one of their own.
SELECT * FROM (
    SELECT * FROM (
        SELECT seq, id, type, queue, priority, payload, labels, due_at, waits_from, score, timeout_ms,
               max_attempts, idempotency_key, id_given, fingerprint, accepted_at, parent, attempts,
               deliveries, crashes, deferrals, fence, settled_fence, crash_1, crash_2, crash_3, history,
               error_class, error_message,
               NULL::text AS state, NULL::bytea AS result, NULL::bigint AS finished_at
        FROM live
        WHERE $8::text <> 'none'
          AND ($8 = 'any'
               OR ($8 = 'ready' AND (due_at IS NULL OR due_at <= $7::bigint))
               OR ($8 = 'scheduled' AND due_at > $7 AND attempts = 0)
               OR ($8 = 'retrying' AND due_at > $7 AND attempts > 0))
          AND seq < $1
          AND ($3::text IS NULL OR queue = $3)
          AND ($4::text IS NULL OR type = $4)
          AND ($5::text IS NULL OR error_class = $5)
          AND ($6::text IS NULL OR strpos(labels, '{' || $6) > 0 OR strpos(labels, ',' || $6) > 0)
        ORDER BY seq DESC
        LIMIT $2
    ) AS part_0
    UNION ALL
    SELECT * FROM (
        SELECT seq, id, type, queue, priority, payload, labels, due_at, waits_from, score, timeout_ms,
               max_attempts, idempotency_key, id_given, fingerprint, accepted_at, parent, attempts,
               deliveries, crashes, deferrals, fence, settled_fence, crash_1, crash_2, crash_3, history,
               error_class, error_message,
               state, result, finished_at
        FROM finished
        WHERE $9::text = 'any'
          AND seq < $1
          AND ($3::text IS NULL OR queue = $3)
          AND ($4::text IS NULL OR type = $4)
          AND ($5::text IS NULL OR error_class = $5)
          AND ($6::text IS NULL OR strpos(labels, '{' || $6) > 0 OR strpos(labels, ',' || $6) > 0)
        ORDER BY seq DESC
        LIMIT $2
    ) AS part_1
    UNION ALL
    SELECT * FROM (
        SELECT seq, id, type, queue, priority, payload, labels, due_at, waits_from, score, timeout_ms,
               max_attempts, idempotency_key, id_given, fingerprint, accepted_at, parent, attempts,
               deliveries, crashes, deferrals, fence, settled_fence, crash_1, crash_2, crash_3, history,
               error_class, error_message,
               state, result, finished_at
        FROM finished
        WHERE $9 = 'succeeded'
          AND state = 'succeeded'
          AND seq < $1
          AND ($3::text IS NULL OR queue = $3)
          AND ($4::text IS NULL OR type = $4)
          AND ($5::text IS NULL OR error_class = $5)
          AND ($6::text IS NULL OR strpos(labels, '{' || $6) > 0 OR strpos(labels, ',' || $6) > 0)
        ORDER BY seq DESC
        LIMIT $2
    ) AS part_2
    UNION ALL
    SELECT * FROM (
        SELECT seq, id, type, queue, priority, payload, labels, due_at, waits_from, score, timeout_ms,
               max_attempts, idempotency_key, id_given, fingerprint, accepted_at, parent, attempts,
               deliveries, crashes, deferrals, fence, settled_fence, crash_1, crash_2, crash_3, history,
               error_class, error_message,
               state, result, finished_at
        FROM finished
        WHERE $9 NOT IN ('none', 'any', 'succeeded')
          AND state <> 'succeeded'
          AND state = $9
          AND seq < $1
          AND ($3::text IS NULL OR queue = $3)
          AND ($4::text IS NULL OR type = $4)
          AND ($5::text IS NULL OR error_class = $5)
          AND ($6::text IS NULL OR strpos(labels, '{' || $6) > 0 OR strpos(labels, ',' || $6) > 0)
        ORDER BY seq DESC
        LIMIT $2
    ) AS part_3
) AS every_part
ORDER BY seq DESC
LIMIT $2
