-- Writes a part of a review, or replaces it.
-- $1 incident, $2 part, $3 text, $4 by whom, $5 at (ms)
INSERT INTO incident_parts (incident, part, text, by_whom, at)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (incident, part) DO UPDATE
SET text = excluded.text, by_whom = excluded.by_whom, at = excluded.at
