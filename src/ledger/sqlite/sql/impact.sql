-- Counts what became of jobs within a span of time, by queue and state. It reads every row that came to rest since its
-- beginning and every live one, so it has a deadline and is asked seldom.
-- $1 from (ms), $2 until (ms, not in it), $3 a JSON array of [type, SLA in ms]
-- Returns queue, state (empty: live), accepted, finished, late, put_off, open.
WITH slas AS (
    SELECT value ->> 0 AS type, value ->> 1 AS sla_ms FROM json_each($3)
),
rest AS (
    SELECT finished.queue, finished.state, finished.accepted_at, finished.waits_from, finished.finished_at,
           finished.deferrals, slas.sla_ms,
           history -> 0 ->> 'started_at' AS started_at
    -- Each part by its index.
    FROM (SELECT * FROM finished WHERE state <> 'in_review' AND finished_at >= $1
          UNION ALL
          SELECT * FROM finished WHERE state <> 'succeeded' AND state = 'in_review' AND finished_at >= $1) AS finished
    LEFT JOIN slas ON slas.type = finished.type
)
SELECT queue, state,
       count(*) FILTER (WHERE accepted_at >= $1 AND accepted_at < $2) AS accepted,
       count(*) FILTER (WHERE finished_at < $2) AS finished,
       -- A job that was put back waits anew, so its first wait began with its acceptance.
       count(*) FILTER (WHERE coalesce(started_at, finished_at) >= $1
                          AND coalesce(started_at, finished_at) < $2
                          AND coalesce(started_at, finished_at)
                              - CASE WHEN waits_from > coalesce(started_at, finished_at) THEN accepted_at
                                     ELSE waits_from END > sla_ms) AS late,
       count(*) FILTER (WHERE finished_at < $2 AND deferrals > 0) AS put_off,
       0 AS open
FROM rest
GROUP BY queue, state
UNION ALL
SELECT queue, '' AS state,
       count(*) FILTER (WHERE accepted_at >= $1) AS accepted,
       0 AS finished, 0 AS late, 0 AS put_off,
       count(*) AS open
FROM live
WHERE accepted_at < $2
GROUP BY queue
