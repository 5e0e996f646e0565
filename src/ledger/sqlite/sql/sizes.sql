-- Counts the rows of the ledger and the bytes of its file.
-- Returns live, finished, bytes.
SELECT (SELECT count(*) FROM live) AS live,
       (SELECT count(*) FROM finished) AS finished,
       page_count * page_size AS bytes
FROM pragma_page_count(), pragma_page_size()
