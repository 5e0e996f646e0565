-- Writes outcomes of runs that will be tried again; the caller has checked the fences.
-- One row of VALUES a settlement; the program repeats the row for larger batches. Its parameters:
--   seq, due_at, fence, attempts, deliveries, crashes, deferrals, history, error_class, error_message
--   (due_at in ms since the epoch)
WITH asked (seq, due_at, fence, attempts, deliveries, crashes, deferrals, history, error_class, error_message) AS (
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
)
UPDATE live
SET due_at = asked.due_at, waits_from = asked.due_at, fence = asked.fence, settled_fence = asked.fence,
    attempts = asked.attempts, deliveries = asked.deliveries, crashes = asked.crashes, deferrals = asked.deferrals,
    history = asked.history, error_class = asked.error_class, error_message = asked.error_message
FROM asked
WHERE live.seq = asked.seq
