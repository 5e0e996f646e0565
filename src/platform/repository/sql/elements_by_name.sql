-- The elements of any page with this name, two at most: more do not help. ?1 name.
SELECT id, site, page, name, version, fingerprint, locators, uses FROM elements WHERE name = ?1 ORDER BY id LIMIT 2;
