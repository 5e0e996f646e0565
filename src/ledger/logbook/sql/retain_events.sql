-- Drops the oldest events: those before a point in time, and those beyond a number, a bounded number of both.
-- $1 the point (ms), $2 how many are kept, $3 the most that go
DELETE FROM events
WHERE number IN (SELECT number
                 FROM events
                 WHERE at < $1 OR number <= (SELECT max(number) FROM events) - $2
                 ORDER BY number
                 LIMIT $3)
