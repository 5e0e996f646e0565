-- Makes the partition of a bucket. BUCKET and NEXT stand for numbers: a bound cannot be a parameter.
CREATE TABLE IF NOT EXISTS finished_BUCKET PARTITION OF finished FOR VALUES FROM (BUCKET) TO (NEXT)
