-- Writes an occurrence of an alert; of one that is there, what may change.
-- $1 fingerprint, $2 starts_at (ms), $3 ends_at (ms or null), $4 incident, $5 name, $6 severity, $7 labels,
--   $8 annotations, $9 received_at (ms), $10 heard_at (ms), $11 lapsed
INSERT INTO alerts (fingerprint, starts_at, ends_at, incident, name, severity, labels, annotations, received_at,
                    heard_at, lapsed)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
ON CONFLICT (fingerprint, starts_at) DO UPDATE
SET ends_at = excluded.ends_at, heard_at = excluded.heard_at, lapsed = excluded.lapsed
