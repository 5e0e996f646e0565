-- Drops tallies that no window looks at any more.
-- Arrays of equal length: $1 measure, $2 the minute before which its tallies go
DELETE FROM tallies
USING unnest($1::text[], $2::bigint[]) AS outlived (measure, before)
WHERE tallies.measure = outlived.measure AND tallies.minute < outlived.before
