-- The elements that changed last. ?1 limit.
SELECT id, site, page, name, version, fingerprint, locators, uses FROM elements ORDER BY changed DESC LIMIT ?1;
