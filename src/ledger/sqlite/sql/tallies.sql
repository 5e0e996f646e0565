-- Reads tallies from a minute on.
-- $1 the minute
-- Returns minute, measure, label, count, total.
SELECT minute, measure, label, count, total FROM tallies WHERE minute >= $1 ORDER BY minute, measure, label
