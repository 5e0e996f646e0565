-- Reads which ledger this is.
-- Returns ledger_id, epoch, broker_identity.
SELECT ledger_id, epoch, broker_identity FROM meta
