-- Lets this transaction read and hash whole tables.
SELECT set_config('enable_seqscan', 'on', TRUE), set_config('enable_hashjoin', 'on', TRUE)
