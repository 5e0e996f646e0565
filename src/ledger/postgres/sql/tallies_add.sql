-- Adds to tallies, unless this node has added under this number or a higher one before.
-- $1 node, $2 number, $3 the latest minute
-- Arrays of equal length, no minute, measure and label twice: $4 minute, $5 measure, $6 label, $7 count, $8 total
WITH fresh AS (
    INSERT INTO tally_additions (node, number, minute)
    VALUES ($1, $2, $3)
    ON CONFLICT (node) DO UPDATE
    SET number = excluded.number, minute = excluded.minute
    WHERE tally_additions.number < excluded.number
    RETURNING node
)
INSERT INTO tallies (minute, measure, label, count, total)
SELECT asked.minute, asked.measure, asked.label, asked.count, asked.total
FROM unnest($4::bigint[], $5::text[], $6::text[], $7::bigint[], $8::float8[])
    AS asked (minute, measure, label, count, total)
WHERE EXISTS (SELECT node FROM fresh)
-- Rows are locked in one order, so that two nodes never deadlock.
ORDER BY asked.minute, asked.measure, asked.label
ON CONFLICT (minute, measure, label) DO UPDATE
SET count = tallies.count + excluded.count, total = tallies.total + excluded.total
