-- name: get
SELECT batch_id AS id, store_id AS vector_store_id, created_at, is_cancelled, in_progress, completed, failed, cancelled
FROM vector_store_batches
WHERE store_id = $1 AND batch_id = $2 AND project_id = $3;
