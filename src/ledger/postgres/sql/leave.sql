-- Forgets a node that leaves in order.
-- $1 id
DELETE FROM nodes WHERE id = $1
