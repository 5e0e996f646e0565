-- Sets how long the connection waits for locks. MILLISECONDS stands for a number: a pragma takes no parameter.
PRAGMA busy_timeout = MILLISECONDS
