-- What is set at run time, apart from the configuration: sizes of pools, shedding by hand, tripped breakers,
-- orders to workers. Small, read whole by every node; all times are milliseconds since the Unix epoch.
CREATE TABLE settings (
    kind    TEXT   NOT NULL,
    name    TEXT   NOT NULL,
    -- JSON, as its kind has it.
    value   TEXT   NOT NULL,
    by_whom TEXT   NOT NULL,
    since   BIGINT NOT NULL,
    -- When it lapses by itself; null: never.
    until   BIGINT,
    PRIMARY KEY (kind, name)
);
