-- Adds to tallies.
-- $1 a JSON array of [minute, measure, label, count, total], no minute, measure and label twice
INSERT INTO tallies (minute, measure, label, count, total)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4
FROM json_each($1)
-- Without a condition the grammar takes ON for a join's.
WHERE true
ON CONFLICT (minute, measure, label) DO UPDATE
SET count = tallies.count + excluded.count, total = tallies.total + excluded.total
