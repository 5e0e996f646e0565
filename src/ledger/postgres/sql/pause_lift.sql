-- Lifts a pause.
-- $1 kind (queue or type), $2 name
DELETE FROM pauses WHERE kind = $1 AND name = $2
