-- Changes an incident; what it cost has to be counted anew.
-- $1 number, $2 severity, $3 detected_at (ms), $4 resolved_at (ms or null)
UPDATE incidents SET severity = $2, detected_at = $3, resolved_at = $4, impact = NULL WHERE number = $1
