-- Reads what people filled in of some reviews.
-- $1 the lowest number, $2 the highest
-- Returns incident, part, text, by_whom, at (ms).
SELECT incident, part, text, by_whom, at FROM incident_parts WHERE incident >= $1 AND incident <= $2
