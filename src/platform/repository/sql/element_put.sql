-- Puts an element. ?1 site ?2 page ?3 name ?4 fingerprint ?5 locators.
-- The version and `changed` grow only if something is new, so that a repeated call costs the caches nothing.
INSERT INTO elements (site, page, name, version, fingerprint, locators, changed)
VALUES (?1, ?2, ?3, 1, ?4, ?5, (SELECT COALESCE(MAX(changed), 0) + 1 FROM elements))
ON CONFLICT (site, page, name) DO UPDATE SET
    version = version + (locators IS NOT excluded.locators),
    fingerprint = excluded.fingerprint,
    locators = excluded.locators,
    changed = excluded.changed
WHERE locators IS NOT excluded.locators OR fingerprint IS NOT excluded.fingerprint
RETURNING id, version;
