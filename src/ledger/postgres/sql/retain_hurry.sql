-- Bounds how long making or dropping a partition may wait for its lock: settlements queue up behind it.
SELECT set_config('lock_timeout', '250', TRUE)
