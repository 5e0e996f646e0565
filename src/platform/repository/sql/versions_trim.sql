-- Forgets the oldest versions of an element. ?1 element ?2 how many stay.
DELETE FROM versions WHERE element = ?1 AND version <= (SELECT MAX(version) FROM versions WHERE element = ?1) - ?2;
