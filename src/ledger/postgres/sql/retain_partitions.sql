-- Lists the partitions of finished jobs that retention may drop, oldest first.
-- Returns bucket, rows as the server's statistics have them, bytes on disk.
SELECT substr(relname, 10)::bigint AS bucket,
       greatest(coalesce(nullif(pg_stat_get_live_tuples(oid), 0), reltuples::bigint), 0) AS estimated_rows,
       pg_table_size(oid) AS disk_bytes
FROM pg_class
WHERE oid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = 'finished'::regclass)
  AND relname ~ '^finished_[0-9]+$'
ORDER BY bucket
