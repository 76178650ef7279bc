-- name: facts
SELECT file_id, status, usage_bytes, job, process, attempt, attributes, body
FROM vector_store_files
WHERE store_id = $1 AND file_id = ANY ($2::text[]) AND status <> 'removed';

-- name: get
SELECT body, attributes, status, usage_bytes, last_error
FROM vector_store_files AS stored
WHERE store_id = $1 AND file_id = $2 AND project_id = $3 AND status <> 'removed'
  AND EXISTS (
      SELECT FROM files
      WHERE files.file_id = stored.file_id AND blob IS NOT NULL AND (expires_at IS NULL OR expires_at > $4)
  );

-- name: list_position
SELECT position FROM vector_store_files WHERE store_id = $1 AND file_id = $2 AND project_id = $3;

-- name: list_asc
SELECT body, attributes, status, usage_bytes, last_error
FROM vector_store_files AS stored
WHERE store_id = $1 AND project_id = $2 AND status <> 'removed' AND ($3::text IS NULL OR status = $3)
  AND EXISTS (
      SELECT FROM files
      WHERE files.file_id = stored.file_id AND blob IS NOT NULL AND (expires_at IS NULL OR expires_at > $4)
  )
  AND ($5::bigint IS NULL OR position > $5) AND ($6::bigint IS NULL OR position < $6)
ORDER BY position
LIMIT $7;

-- name: list_desc
SELECT body, attributes, status, usage_bytes, last_error
FROM vector_store_files AS stored
WHERE store_id = $1 AND project_id = $2 AND status <> 'removed' AND ($3::text IS NULL OR status = $3)
  AND EXISTS (
      SELECT FROM files
      WHERE files.file_id = stored.file_id AND blob IS NOT NULL AND (expires_at IS NULL OR expires_at > $4)
  )
  AND ($5::bigint IS NULL OR position > $5) AND ($6::bigint IS NULL OR position < $6)
ORDER BY position DESC
LIMIT $7;

-- name: batch_asc
SELECT body, attributes, status, usage_bytes, last_error
FROM vector_store_files AS stored
WHERE store_id = $1 AND project_id = $2 AND ($3::text IS NULL OR status = $3)
  AND EXISTS (
      SELECT FROM files
      WHERE files.file_id = stored.file_id AND blob IS NOT NULL AND (expires_at IS NULL OR expires_at > $4)
  )
  AND ($5::bigint IS NULL OR position > $5) AND ($6::bigint IS NULL OR position < $6)
  AND batch_id = $8
ORDER BY position
LIMIT $7;

-- name: batch_desc
SELECT body, attributes, status, usage_bytes, last_error
FROM vector_store_files AS stored
WHERE store_id = $1 AND project_id = $2 AND ($3::text IS NULL OR status = $3)
  AND EXISTS (
      SELECT FROM files
      WHERE files.file_id = stored.file_id AND blob IS NOT NULL AND (expires_at IS NULL OR expires_at > $4)
  )
  AND ($5::bigint IS NULL OR position > $5) AND ($6::bigint IS NULL OR position < $6)
  AND batch_id = $8
ORDER BY position DESC
LIMIT $7;

-- name: stores_with_file
SELECT store_id FROM vector_store_files WHERE file_id = $1 AND project_id = $2 AND status <> 'removed';

-- name: find_waiting (a declared fan-out, of the indexing supervisor)
-- Projects take turns, and in a project its vector stores: those with fewer files in work come first, and $3 is a random
-- id to begin at. The small files (of at most $5 bytes) of a project and its large ones have turns of their own, so that
-- neither hides the other; of one store the first $6 waiting files are looked at.
SELECT work.store_id, work.file_id, work.project_id, work.job, work.process, work.size
FROM (
    SELECT waiting.*, row_number() OVER (PARTITION BY project_id, size <= $5 ORDER BY turn + (
        SELECT count(*) FROM vector_store_files AS started
        WHERE started.status = 'in_progress' AND started.process IS NOT NULL AND started.store_id = waiting.store_id
    ), waiting.store_id < $3, waiting.store_id) AS project_turn
    FROM (
        SELECT store_id FROM vector_stores WHERE in_progress > 0 ORDER BY store_id < $3, store_id LIMIT $4
    ) AS busy
    CROSS JOIN LATERAL (
        SELECT ranked.* FROM (
            SELECT first.*, row_number() OVER (PARTITION BY size <= $5 ORDER BY position) AS turn
            FROM (
                SELECT store_id, file_id, project_id, job, process, position,
                    coalesce((
                        SELECT f.bytes FROM files AS f WHERE f.file_id = vector_store_files.file_id
                    ), 0) AS size
                FROM vector_store_files
                WHERE store_id = busy.store_id AND status = 'in_progress'
                  AND (process IS NULL OR process <> ALL ($1::integer[]))
                ORDER BY position
                LIMIT $6
            ) AS first
        ) AS ranked
        WHERE ranked.turn <= $2
    ) AS waiting
) AS work
ORDER BY work.project_turn, work.store_id < $3, work.store_id
LIMIT $2;

-- name: find_overdue (a declared fan-out, of the indexing supervisor)
SELECT store_id, file_id, project_id, job, process FROM vector_store_files
WHERE status = 'in_progress' AND process IS NOT NULL AND deadline <= $1
ORDER BY deadline
LIMIT $2;

-- name: find_held (a declared fan-out, of the indexing supervisor)
SELECT store_id, file_id, project_id, job, process FROM vector_store_files
WHERE status = 'in_progress' AND process = $1
LIMIT $2;

-- name: find_orphans (a declared fan-out, of the sweep)
SELECT store_id, file_id, project_id, job, process FROM vector_store_files AS stored
WHERE status <> 'removed'
  AND NOT EXISTS (
      SELECT FROM files
      WHERE files.file_id = stored.file_id AND blob IS NOT NULL AND (expires_at IS NULL OR expires_at > $1)
  )
LIMIT $2;
