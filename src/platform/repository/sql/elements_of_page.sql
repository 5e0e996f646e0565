-- The elements of a page. ?1 site ?2 page ?3 limit.
SELECT id, site, page, name, version, fingerprint, locators, uses FROM elements WHERE site = ?1 AND page = ?2 ORDER BY id LIMIT ?3;
