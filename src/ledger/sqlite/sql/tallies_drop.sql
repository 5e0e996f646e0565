-- Drops tallies that no window looks at any more.
-- $1 a JSON array of [measure, the minute before which its tallies go]
DELETE FROM tallies
WHERE EXISTS (
    SELECT 1
    FROM json_each($1)
    WHERE tallies.measure = value ->> 0 AND tallies.minute < value ->> 1)
