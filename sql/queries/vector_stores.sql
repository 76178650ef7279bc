-- name: get
-- sealed: vector_stores($1): body, patches
SELECT body, patches, embedding_model, last_active_at, expires_after, expired, in_progress, completed, failed,
    cancelled, usage_bytes
FROM vector_stores
WHERE store_id = $1 AND project_id = $2 AND NOT deleted;

-- name: find
-- sealed: vector_stores(store_id): body, patches
SELECT store_id, body, patches, embedding_model, last_active_at, expires_after, expired, in_progress, completed, failed,
    cancelled, usage_bytes
FROM vector_stores
WHERE store_id = ANY ($1::text[]) AND project_id = $2 AND NOT deleted;

-- name: list_position
SELECT created_at, store_id AS id FROM vector_stores WHERE store_id = $1 AND project_id = $2;

-- name: list_asc
-- sealed: vector_stores(store_id): body, patches
SELECT store_id, body, patches, embedding_model, last_active_at, expires_after, expired, in_progress, completed, failed,
    cancelled, usage_bytes
FROM vector_stores
WHERE project_id = $1 AND NOT deleted
  AND ($2::timestamptz IS NULL OR (created_at, store_id) > ($2, $3))
  AND ($4::timestamptz IS NULL OR (created_at, store_id) < ($4, $5))
ORDER BY created_at, store_id
LIMIT $6;

-- name: list_desc
-- sealed: vector_stores(store_id): body, patches
SELECT store_id, body, patches, embedding_model, last_active_at, expires_after, expired, in_progress, completed, failed,
    cancelled, usage_bytes
FROM vector_stores
WHERE project_id = $1 AND NOT deleted
  AND ($2::timestamptz IS NULL OR (created_at, store_id) > ($2, $3))
  AND ($4::timestamptz IS NULL OR (created_at, store_id) < ($4, $5))
ORDER BY created_at DESC, store_id DESC
LIMIT $6;

-- name: find_overdue (a declared fan-out, of the sweep)
SELECT store_id AS id, project_id FROM vector_stores
WHERE NOT deleted AND expires_at <= $1
ORDER BY expires_at
LIMIT $2;

-- name: count_files_in_progress (a declared fan-out, of the metrics)
SELECT coalesce(sum(in_progress), 0)::bigint FROM vector_stores WHERE in_progress > 0;

-- name: count_by_other_model (a declared fan-out, of upkeep; once in each process)
SELECT embedding_model, count(*) AS stores FROM vector_stores
WHERE NOT deleted AND NOT expired AND embedding_model <> $1
GROUP BY embedding_model
ORDER BY embedding_model;
