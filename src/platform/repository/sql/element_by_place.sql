-- One element. ?1 site ?2 page ?3 name.
SELECT id, site, page, name, version, fingerprint, locators, uses FROM elements WHERE site = ?1 AND page = ?2 AND name = ?3;
