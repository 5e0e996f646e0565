-- Takes a row out of live that was copied to finished.
-- $1 seq
DELETE FROM live WHERE seq = $1
