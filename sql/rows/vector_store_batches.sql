-- name: insert
INSERT INTO vector_store_batches (store_id, batch_id, project_id, created_at, in_progress) SELECT $1, $2, $3, $4, 0
WHERE EXISTS (SELECT FROM head)

-- name: grow
UPDATE vector_store_batches SET in_progress = in_progress + $3
WHERE store_id = $1 AND batch_id = $2 AND EXISTS (SELECT FROM head)

-- name: leave_any
-- Files that are added again or removed leave their batch, which counts those in progress as cancelled.
UPDATE vector_store_batches AS batch
SET in_progress = batch.in_progress - leaving.files, cancelled = batch.cancelled + leaving.files
FROM (
    SELECT batch_id, count(*) AS files FROM vector_store_files
    WHERE store_id = $1 AND file_id = ANY ($2::text[]) AND status = 'in_progress' AND batch_id IS NOT NULL
    GROUP BY batch_id
) AS leaving
WHERE batch.store_id = $1 AND batch.batch_id = leaving.batch_id AND EXISTS (SELECT FROM head)

-- name: move_any
UPDATE vector_store_batches
SET in_progress = in_progress - 1, completed = completed + $3, failed = failed + $4
WHERE store_id = $1
  AND batch_id = (SELECT batch_id FROM vector_store_files WHERE store_id = $1 AND file_id = $2)
  AND EXISTS (SELECT FROM head)

-- name: cancel
UPDATE vector_store_batches SET is_cancelled = true, cancelled = cancelled + in_progress, in_progress = 0
WHERE store_id = $1 AND batch_id = $2 AND EXISTS (SELECT FROM head)

-- name: expire_any
UPDATE vector_store_batches SET cancelled = cancelled + in_progress, in_progress = 0
WHERE store_id = $1 AND in_progress > 0 AND EXISTS (SELECT FROM head)

-- name: delete_all
DELETE FROM vector_store_batches WHERE store_id = $1 AND EXISTS (SELECT FROM head)
