-- Writes a remedy down: as running, as a dry run or as suppressed (which is written once for each target, reason and
-- occurrence).
-- $1 ticket, $2 incident, $3 alert, $4 fingerprint, $5 starts_at (ms), $6 action, $7 kind, $8 target, $9 node,
--   $10 node name, $11 by whom, $12 is_dry, $13 began_at (ms), $14 ended_at (ms or null), $15 state, $16 reason,
--   $17 words, $18 before
-- Returns number.
INSERT INTO remediations (ticket, incident, alert, fingerprint, starts_at, action, kind, target, node, node_name,
                          by_whom, is_dry, began_at, ended_at, state, reason, words, before)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)
ON CONFLICT DO NOTHING
RETURNING number
