-- The files for code_interpreter that messages attach to a thread are rows of their own, and a store of its own is a
-- column, so that a thread's row does not grow with its messages.

CREATE TABLE thread_attachments (
    thread_id text   NOT NULL,
    position  bigint NOT NULL,
    file_ids  bytea  NOT NULL,
    PRIMARY KEY (thread_id, position)
);

-- `has_own_store` says that a message attached a file for file_search since the tool resources were last replaced.
ALTER TABLE threads ADD COLUMN has_own_store boolean NOT NULL DEFAULT false;

INSERT INTO pending_rebuilds (stream_id)
SELECT thread_id FROM threads WHERE cardinality(patches) > 2
ON CONFLICT DO NOTHING;
