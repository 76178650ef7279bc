-- Two rules for tables that are distributed over servers (docs/scaling.md): an identity is a bigint, and each unique index
-- of a distributed table has the stream's id. The ids of parts are random, so that no index has to keep them apart.
ALTER TABLE embedding_models ALTER COLUMN model_id TYPE bigint;

DROP INDEX upload_parts_blob;
CREATE INDEX upload_parts_blob ON upload_parts (part_id);
