-- Keeps a version. ?1 element ?2 version ?3 locators ?4 made by ?5 strategy ?6 confidence 
INSERT INTO versions (element, version, locators, made_by, strategy, confidence, made_at_ms)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, CAST(unixepoch('subsec') * 1000 AS INTEGER))
ON CONFLICT (element, version) DO NOTHING;
