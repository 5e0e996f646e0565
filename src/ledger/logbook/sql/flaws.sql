-- Finds lives that are live and at rest at once, among the latest.
-- $1 how many of the latest are looked at
-- Returns id.
SELECT id
FROM (SELECT seq, id FROM live ORDER BY seq DESC LIMIT $1) AS latest
WHERE EXISTS (SELECT finished.seq FROM finished WHERE finished.seq = latest.seq)
   OR EXISTS (SELECT finished.seq FROM finished WHERE finished.id = latest.id)
LIMIT 10
