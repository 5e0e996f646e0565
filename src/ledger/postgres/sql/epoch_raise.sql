-- Raises the epoch and notes the broker it is opened on; a lower or equal one changes nothing.
-- $1 epoch, $2 identity of the broker
UPDATE meta SET epoch = $1, broker_identity = $2 WHERE epoch < $1
