-- Reads which migrations are applied.
-- Returns version.
SELECT version FROM _sqlx_migrations WHERE success ORDER BY version
