-- Forgets all terms: whoever opens the file has the folder to itself, so no holder is left.
DELETE FROM terms
