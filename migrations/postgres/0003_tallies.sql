-- What was observed of the work, summed by minute: the source of the business measures. Small: a row for each measure,
-- label and minute that had samples, dropped once no window looks at it.
CREATE TABLE tallies (
    -- Minutes since the Unix epoch.
    minute  BIGINT NOT NULL,
    measure TEXT NOT NULL,
    -- The value of the measure's label; empty where it has none.
    label   TEXT NOT NULL,
    count   BIGINT NOT NULL CHECK (count > 0),
    total   DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (minute, measure, label)
);

-- The last addition of each node, so that a repeated one adds nothing.
CREATE TABLE tally_additions (
    node   TEXT NOT NULL PRIMARY KEY,
    number BIGINT NOT NULL,
    -- The latest minute that it added to.
    minute BIGINT NOT NULL
);
