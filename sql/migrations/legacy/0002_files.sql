-- Files and uploads. Deleted and expired files keep their place, as cursors, and lose `blob`: nobody owns those bytes.
CREATE TABLE files (
    file_id    text        PRIMARY KEY,
    project_id text        NOT NULL,
    created_at timestamptz NOT NULL,
    purpose    text        NOT NULL,
    expires_at bigint,
    blob       text UNIQUE,
    body       json        NOT NULL
);
CREATE INDEX files_in_order ON files (project_id, created_at, file_id);
CREATE INDEX files_expiring ON files (expires_at) WHERE blob IS NOT NULL AND expires_at IS NOT NULL;

CREATE TABLE uploads (
    upload_id  text   PRIMARY KEY,
    project_id text   NOT NULL,
    status     text   NOT NULL,
    expires_at bigint NOT NULL,
    file_id    text,
    body       json   NOT NULL
);
CREATE INDEX uploads_pending ON uploads (expires_at) WHERE status = 'pending';

-- The parts of pending uploads: rows go when the upload ends, and with them what keeps the parts' bytes.
CREATE TABLE upload_parts (
    upload_id  text NOT NULL,
    part_id    text NOT NULL,
    body       json NOT NULL,
    PRIMARY KEY (upload_id, part_id)
);
CREATE UNIQUE INDEX upload_parts_blob ON upload_parts (part_id);
