-- Drops the partition of a bucket. BUCKET stands for a number: a name cannot be a parameter.
DROP TABLE IF EXISTS finished_BUCKET
