-- Counts the pages of the file that hold nothing.
-- Returns freelist_count.
SELECT freelist_count FROM pragma_freelist_count()
