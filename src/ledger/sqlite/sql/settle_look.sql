-- Reads the fences of live rows. Between this and the writes nothing can happen: there is one writer.
-- $1 seqs, a JSON array
-- Returns one row: a JSON array of [seq, fence, settled_fence], because one value crosses from the
-- store's thread faster than a thousand rows.
SELECT json_group_array(json_array(seq, fence, settled_fence)) AS fences
FROM live
WHERE seq IN (SELECT value FROM json_each($1))
