-- Whether there is such an incident.
-- $1 number
-- Returns number.
SELECT number FROM incidents WHERE number = $1
