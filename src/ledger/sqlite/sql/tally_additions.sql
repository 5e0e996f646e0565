-- Notes an addition of a node; changes no row if it has added under this number or a higher one before.
-- $1 node, $2 number, $3 the latest minute
INSERT INTO tally_additions (node, number, minute)
VALUES ($1, $2, $3)
ON CONFLICT (node) DO UPDATE
SET number = excluded.number, minute = excluded.minute
WHERE tally_additions.number < excluded.number
