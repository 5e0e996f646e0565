-- Counts what a remedy's limits are about: its own runs for this occurrence, on this target, of this action, and all.
-- $1 action, $2 target, $3 fingerprint, $4 starts_at (ms), $5 1: of dry runs, $6 an hour ago (ms),
--   $7 before the cool-down (ms)
-- Returns repeated, cooling, of_action, of_all.
SELECT (SELECT count(*)
        FROM remediations
        WHERE state <> 'suppressed' AND fingerprint <> ''
          AND action = $1 AND fingerprint = $3 AND starts_at = $4 AND is_dry = $5) AS repeated,
       (SELECT count(*)
        FROM remediations
        WHERE state <> 'suppressed' AND action = $1 AND target = $2 AND is_dry = $5 AND began_at > $7) AS cooling,
       (SELECT count(*)
        FROM remediations
        WHERE state <> 'suppressed' AND action = $1 AND is_dry = $5 AND began_at > $6) AS of_action,
       (SELECT count(*)
        FROM remediations
        WHERE state <> 'suppressed' AND is_dry = $5 AND began_at > $6) AS of_all
