-- Reads the whole file and tells what is damaged, ten findings at most.
-- Returns quick_check: "ok", or a finding.
PRAGMA quick_check(10)
