-- The elements that are asked for most. ?1 limit.
SELECT id, site, page, name, version, fingerprint, locators, uses FROM elements ORDER BY uses DESC, changed DESC LIMIT ?1;
