-- Adds an event, unless its node has added it before.
-- $1 at (ms), $2 node, $3 mark, $4 node name, $5 kind, $6 subject, $7 words, $8 detail
INSERT INTO events (at, node, mark, node_name, kind, subject, words, detail)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (node, mark) DO NOTHING
