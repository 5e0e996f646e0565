-- Drops the reviews of the jobs of a bucket, before its partition goes. BUCKET stands for a number, as there.
DELETE FROM reviews
WHERE decision IS NOT NULL
  AND EXISTS (SELECT 1 FROM finished WHERE finished.bucket = BUCKET AND finished.id = reviews.job_id)
