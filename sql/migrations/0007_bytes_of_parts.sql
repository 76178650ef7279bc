-- The bytes of parts count towards the quota of a project. Pending uploads are rebuilt from the log.
ALTER TABLE upload_parts ADD COLUMN bytes bigint NOT NULL DEFAULT 0;

INSERT INTO pending_rebuilds (stream_id) SELECT DISTINCT upload_id FROM upload_parts ON CONFLICT DO NOTHING;
