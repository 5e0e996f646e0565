-- Waits until no other transaction of the logbook stands between its look and its write; held until this one ends.
SELECT pg_advisory_xact_lock(hashtext('ganger logbook'))
