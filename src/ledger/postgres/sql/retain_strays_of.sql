-- Asks whether a bucket has strays: then it cannot have a partition until they are gone.
-- $1 bucket
SELECT 1 AS stray FROM finished_default WHERE bucket = $1 LIMIT 1
