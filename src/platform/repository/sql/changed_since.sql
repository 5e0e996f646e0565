-- Which elements changed after that. ?1 the last change known.
SELECT id, changed FROM elements WHERE changed > ?1;
