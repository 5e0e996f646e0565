-- Counts the open reviews, by reason.
-- Returns reason, count, oldest (ms).
SELECT reason, count(*) AS count, min(opened_at) AS oldest FROM reviews WHERE decision IS NULL GROUP BY reason
