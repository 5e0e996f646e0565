-- Reads all pauses in force.
-- Returns kind (queue or type), name, by_whom, reason, since (ms).
SELECT kind, name, by_whom, reason, since FROM pauses ORDER BY kind, name
