-- Notes how the open review of a life was decided.
-- $1 seq, $2 decision, $3 decided_at (ms), $4 by whom, $5 note, $6 the proposal that was put in place
UPDATE reviews
SET decision = $2, decided_at = $3, decided_by = $4, note = $5, decided_proposal = $6
WHERE seq = $1 AND decision IS NULL
