-- Finds a remedy by its ticket.
-- $1 ticket
-- Returns number, state, reason.
SELECT number, state, reason FROM remediations WHERE ticket = $1
