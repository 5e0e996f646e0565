-- Forgets the additions of nodes that have added nothing since a minute.
-- $1 the minute
DELETE FROM tally_additions WHERE minute < $1
