-- Takes a part of a review back.
-- $1 incident, $2 part
DELETE FROM incident_parts WHERE incident = $1 AND part = $2
