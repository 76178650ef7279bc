-- name: insert
INSERT INTO vector_store_batches (store_id, batch_id, project_id, created_at, in_progress) VALUES ($1, $2, $3, $4, 0);

-- name: grow
UPDATE vector_store_batches SET in_progress = in_progress + $3 WHERE store_id = $1 AND batch_id = $2;

-- name: leave
-- Files that are added again or removed leave their batch, which counts those in progress as cancelled.
UPDATE vector_store_batches AS batch
SET in_progress = batch.in_progress - leaving.files, cancelled = batch.cancelled + leaving.files
FROM (
    SELECT batch_id, count(*) AS files FROM vector_store_files
    WHERE store_id = $1 AND file_id = ANY ($2::text[]) AND status = 'in_progress' AND batch_id IS NOT NULL
    GROUP BY batch_id
) AS leaving
WHERE batch.store_id = $1 AND batch.batch_id = leaving.batch_id;

-- name: move
UPDATE vector_store_batches
SET in_progress = in_progress - 1, completed = completed + $3, failed = failed + $4
WHERE store_id = $1
  AND batch_id = (SELECT batch_id FROM vector_store_files WHERE store_id = $1 AND file_id = $2);

-- name: cancel
UPDATE vector_store_batches SET is_cancelled = true, cancelled = cancelled + in_progress, in_progress = 0
WHERE store_id = $1 AND batch_id = $2;

-- name: get
SELECT batch_id AS id, store_id AS vector_store_id, created_at, is_cancelled, in_progress, completed, failed, cancelled
FROM vector_store_batches
WHERE store_id = $1 AND batch_id = $2 AND project_id = $3;
