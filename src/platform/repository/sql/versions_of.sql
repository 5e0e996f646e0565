-- The versions of an element, the newest first. ?1 element.
SELECT version, locators, made_by, strategy, confidence, made_at_ms FROM versions WHERE element = ?1 ORDER BY version DESC;
