-- Drops what was filled in of incidents that are gone.
DELETE FROM incident_parts WHERE NOT EXISTS (SELECT number FROM incidents WHERE number = incident_parts.incident)
