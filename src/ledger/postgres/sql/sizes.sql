-- Estimates the sizes of the ledger from the server's own statistics, at no cost per row.
-- Returns live, finished, bytes.
SELECT pg_stat_get_live_tuples('live'::regclass) AS live,
       (SELECT coalesce(sum(pg_stat_get_live_tuples(inhrelid)), 0)::bigint
        FROM pg_inherits WHERE inhparent = 'finished'::regclass) AS finished,
       pg_database_size(current_database()) AS bytes
