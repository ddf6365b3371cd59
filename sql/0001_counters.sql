-- One row for each key that is counted. There is no index but the primary key, and no column of it ever changes,
-- so that an update stays in its page (HOT) and leaves nothing for an index to clean up.
CREATE{unlogged} TABLE {table} (
    key bytea PRIMARY KEY,
    -- The numbers of the algorithm; the first byte is the version of their format.
    state bytea NOT NULL,
    -- Milliseconds since 1970-01-01T00:00:00Z; from then on the row is not needed.
    expires_at_ms bigint NOT NULL
) WITH (
    -- Room in each page for the next version of its rows.
    fillfactor = 60,
    -- Rows change all the time and the table is small: it is cleaned often and without pauses, or it grows.
    autovacuum_vacuum_scale_factor = 0.05,
    autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_cost_delay = 0,
    autovacuum_vacuum_insert_scale_factor = 0.5
);
