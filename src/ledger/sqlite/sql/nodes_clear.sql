-- Forgets all nodes: whoever opens the file has the folder to itself, so no other node is left.
DELETE FROM nodes
