-- Prepares a connection. Every query here finds its rows through an index, batch by batch; plans that
-- read or hash whole tables look cheap while a table is small and stay in use when it is not, so they
-- are ruled out. Plans are made once per connection.
-- $1 how long one statement may take (ms)
SELECT set_config('statement_timeout', $1, FALSE),
       set_config('lock_timeout', $1, FALSE),
       -- A node that is cut off in a transaction must not hold its locks for longer than its calls last.
       set_config('idle_in_transaction_session_timeout', $1, FALSE),
       set_config('plan_cache_mode', 'force_generic_plan', FALSE),
       set_config('enable_seqscan', 'off', FALSE),
       set_config('enable_hashjoin', 'off', FALSE),
       set_config('enable_mergejoin', 'off', FALSE),
       set_config('jit', 'off', FALSE)
