-- A crash of Postgres empties live_deltas. The ids of its rows go on behind those that were read, and readers notice if a
-- row of a call is missing: batch counts them from 1. Older software writes 0.
ALTER SEQUENCE live_deltas_id_seq SET LOGGED;
ALTER TABLE live_deltas ADD COLUMN batch integer NOT NULL DEFAULT 0;
