-- Reads the highest seq that was ever drawn, by transactions that are still open too.
-- Returns seq; 0 before the first.
SELECT coalesce(pg_sequence_last_value(pg_get_serial_sequence('live', 'seq')::regclass), 0) AS seq
