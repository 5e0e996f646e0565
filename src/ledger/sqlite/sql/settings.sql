-- Reads all settings.
-- Returns kind, name, value (JSON), by_whom, since (ms), until (ms or null).
SELECT kind, name, value, by_whom, since, until FROM settings ORDER BY kind, name
