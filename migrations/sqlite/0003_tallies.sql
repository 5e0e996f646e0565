-- What was observed of the work, summed by minute: the source of the business measures. Small: a row for each measure,
-- label and minute that had samples, dropped once no window looks at it.
CREATE TABLE tallies (
    -- Minutes since the Unix epoch.
    minute  INTEGER NOT NULL,
    measure TEXT NOT NULL,
    -- The value of the measure's label; empty where it has none.
    label   TEXT NOT NULL,
    count   INTEGER NOT NULL CHECK (count > 0),
    total   REAL NOT NULL,
    PRIMARY KEY (minute, measure, label)
) STRICT, WITHOUT ROWID;

-- The last addition of each node, so that a repeated one adds nothing.
CREATE TABLE tally_additions (
    node   TEXT NOT NULL PRIMARY KEY,
    number INTEGER NOT NULL,
    -- The latest minute that it added to.
    minute INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
