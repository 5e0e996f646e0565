-- Counts uses. ?1 element ?2 how many.
UPDATE elements SET uses = uses + ?2 WHERE id = ?1;
