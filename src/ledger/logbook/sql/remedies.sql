-- Reads a page of remedies, newest first.
-- $1 only numbers below this, $2 the most rows, $3 action, $4 state (both empty: any), $5 incident (0: any)
-- Returns remedies.
SELECT number, ticket, incident, alert, fingerprint, starts_at, action, kind, target, node, node_name, by_whom, is_dry,
       began_at, ended_at, state, reason, words, before, after
FROM remediations
WHERE number < $1 AND ($3 = '' OR action = $3) AND ($4 = '' OR state = $4) AND ($5 = 0 OR incident = $5)
ORDER BY number DESC
LIMIT $2
