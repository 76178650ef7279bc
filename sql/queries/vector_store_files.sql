-- name: facts
-- sealed: vector_store_files($1, file_id): body
SELECT file_id, status, usage_bytes, job, process, attempt, attributes, body
FROM vector_store_files
WHERE store_id = $1 AND file_id = ANY ($2::text[]) AND status <> 'removed';

-- name: get
-- sealed: vector_store_files($1, $2): body, last_error
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
-- sealed: vector_store_files($1, file_id): body, last_error
SELECT file_id, body, attributes, status, usage_bytes, last_error
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
-- sealed: vector_store_files($1, file_id): body, last_error
SELECT file_id, body, attributes, status, usage_bytes, last_error
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
-- sealed: vector_store_files($1, file_id): body, last_error
SELECT file_id, body, attributes, status, usage_bytes, last_error
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
-- sealed: vector_store_files($1, file_id): body, last_error
SELECT file_id, body, attributes, status, usage_bytes, last_error
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
-- A flow is the small files of a project, or its large ones. Flows take turns, and in a flow its vector stores: those
-- with fewer files in work come first, and $3 is a random id, which no project and no store has, to begin at. Of a flow
-- $4 stores are read, and $4 files of each. Each look is a descent of the index `vector_store_files_to_index`; it passes
-- over the files in work only.
WITH RECURSIVE flow (project_id, is_large, has_wrapped, place) AS (
    SELECT $3::text, true, false, 0
    UNION ALL
    SELECT next.project_id, next.is_large, next.has_wrapped, flow.place + 1
    FROM flow CROSS JOIN LATERAL (
        (
            SELECT project_id, is_large, flow.has_wrapped FROM vector_store_files
            WHERE status = 'in_progress' AND (process IS NULL OR process <> ALL ($1::integer[]))
              AND (project_id, is_large) > (flow.project_id, flow.is_large)
              AND (NOT flow.has_wrapped OR project_id < $3)
            ORDER BY project_id, is_large
            LIMIT 1
        )
        UNION ALL
        (
            SELECT project_id, is_large, true FROM vector_store_files
            WHERE status = 'in_progress' AND (process IS NULL OR process <> ALL ($1::integer[]))
              AND NOT flow.has_wrapped AND project_id < $3
            ORDER BY project_id, is_large
            LIMIT 1
        )
        ORDER BY has_wrapped
        LIMIT 1
    ) AS next
    WHERE flow.place < $2
), started AS (
    SELECT store_id, count(*) AS files FROM vector_store_files
    WHERE status = 'in_progress' AND process IS NOT NULL
    GROUP BY store_id
)
SELECT waiting.store_id, waiting.file_id, waiting.project_id, waiting.job, waiting.process, waiting.is_large
FROM (
    SELECT file.*, flow.place, busy.place AS store_place, row_number() OVER (
        PARTITION BY flow.place ORDER BY file.turn + coalesce(started.files, 0), busy.place
    ) AS flow_turn
    FROM flow
    CROSS JOIN LATERAL (
        WITH RECURSIVE store (store_id, has_wrapped, place) AS (
            SELECT $3::text, false, 0
            UNION ALL
            SELECT next.store_id, next.has_wrapped, store.place + 1
            FROM store CROSS JOIN LATERAL (
                (
                    SELECT store_id, store.has_wrapped FROM vector_store_files
                    WHERE status = 'in_progress' AND (process IS NULL OR process <> ALL ($1::integer[]))
                      AND project_id = flow.project_id AND is_large = flow.is_large
                      AND store_id > store.store_id AND (NOT store.has_wrapped OR store_id < $3)
                    ORDER BY store_id
                    LIMIT 1
                )
                UNION ALL
                (
                    SELECT store_id, true FROM vector_store_files
                    WHERE status = 'in_progress' AND (process IS NULL OR process <> ALL ($1::integer[]))
                      AND project_id = flow.project_id AND is_large = flow.is_large
                      AND NOT store.has_wrapped AND store_id < $3
                    ORDER BY store_id
                    LIMIT 1
                )
                ORDER BY has_wrapped
                LIMIT 1
            ) AS next
            WHERE store.place < $4
        )
        SELECT store_id, place FROM store WHERE place > 0
    ) AS busy
    CROSS JOIN LATERAL (
        SELECT store_id, file_id, project_id, job, process, is_large, row_number() OVER (ORDER BY position) AS turn
        FROM vector_store_files
        WHERE status = 'in_progress' AND (process IS NULL OR process <> ALL ($1::integer[]))
          AND project_id = flow.project_id AND is_large = flow.is_large AND store_id = busy.store_id
        ORDER BY position
        LIMIT $4
    ) AS file
    LEFT JOIN started ON started.store_id = file.store_id
    WHERE flow.place > 0
) AS waiting
ORDER BY waiting.flow_turn, waiting.place
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
