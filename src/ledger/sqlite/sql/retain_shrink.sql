-- Gives free pages back to the file system, a bounded number, so that the file shrinks.
PRAGMA incremental_vacuum(2000)
