-- The scan for files to index goes from project to project, from small files to large ones and from store to store by
-- an index. `is_large` is what decides a file's turn (events/file.py). Stores that exist are rebuilt from the log; until
-- then their files have the turns of small ones.
ALTER TABLE vector_store_files ADD COLUMN is_large boolean NOT NULL DEFAULT false;

DROP INDEX vector_store_files_at_work;
CREATE INDEX vector_store_files_to_index ON vector_store_files (project_id, is_large, store_id, position)
    WHERE status = 'in_progress';

INSERT INTO pending_rebuilds (stream_id) SELECT DISTINCT store_id FROM vector_store_files ON CONFLICT DO NOTHING;
