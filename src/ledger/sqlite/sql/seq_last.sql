-- The highest seq that was ever given.
-- Returns one row when any was: seq.
SELECT seq FROM sqlite_sequence WHERE name = 'live'
