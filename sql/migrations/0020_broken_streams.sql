-- The streams up to `last_stream_id` whose events lead to no rows (at most 1,000: `last_stream_id` stays before the
-- next one). A rebuild that goes on works on them again. `has_ended`: all streams were worked on, and the row is kept
-- because of the broken ones. Rebuilds that were broken off before this migration begin again.
ALTER TABLE view_rebuilds
    ADD COLUMN broken text[] NOT NULL DEFAULT '{}',
    ADD COLUMN has_ended boolean NOT NULL DEFAULT false;
DELETE FROM view_rebuilds;
