-- name: lock_file_of_job (FOR SHARE: the file belongs to this job until the transaction ends)
SELECT true FROM vector_store_files
WHERE store_id = $1 AND file_id = $2 AND job = $3 AND status = 'in_progress'
FOR SHARE;

-- name: insert (`spaced` is null if it equals the text; see service/search/words.py)
INSERT INTO chunks (store_id, file_id, job, chunk, start, page, tokens, cuts, text, words)
SELECT $1, $2, $3, chunk, start, page, tokens, cuts::integer[], text,
    array_to_tsvector(ARRAY [$1, 'language ' || language])
        || to_tsvector(language::regconfig, coalesce(spaced, text)) || pairs::tsvector
FROM unnest(
    $4::integer[], $5::integer[], $6::integer[], $7::integer[], $8::text[], $9::text[], $10::text[], $11::text[],
    $12::text[]
) AS new (chunk, start, page, tokens, cuts, text, language, spaced, pairs);

-- name: files_with_older_words (a declared fan-out, of upkeep)
SELECT store_id, file_id, job FROM chunk_files
WHERE word_rules < $1 AND words_counted AND (store_id, file_id, job) > ($2, $3, $4::bigint)
ORDER BY store_id, file_id, job
LIMIT $5;

-- name: texts
SELECT chunk, text FROM chunks
WHERE store_id = $1 AND file_id = $2 AND job = $3 AND chunk > $4
ORDER BY chunk
LIMIT $5;

-- name: lock_counted_file (FOR SHARE: the file's words stay counted until the transaction ends)
SELECT true FROM chunk_files WHERE store_id = $1 AND file_id = $2 AND job = $3 AND words_counted FOR SHARE;

-- name: replace_words (of some chunks whose words are counted; the counts change by the difference, in the order of the
-- words, so that two of these statements never deadlock)
WITH new AS (
    SELECT given.chunk, array_to_tsvector(ARRAY [$1, 'language ' || given.language])
        || to_tsvector(given.language::regconfig, given.spaced) || given.pairs::tsvector AS words
    FROM unnest($4::integer[], $5::text[], $6::text[], $7::text[]) AS given (chunk, language, spaced, pairs)
), old AS (
    SELECT c.chunk, c.words FROM chunks c JOIN new USING (chunk)
    WHERE c.store_id = $1 AND c.file_id = $2 AND c.job = $3
    FOR UPDATE OF c
), replaced AS (
    UPDATE chunks c SET words = new.words FROM new JOIN old USING (chunk)
    WHERE c.store_id = $1 AND c.file_id = $2 AND c.job = $3 AND c.chunk = new.chunk
    RETURNING new.chunk, new.words
), change AS (
    SELECT lexeme, sum(change) AS change FROM (
        SELECT lexeme, -1 AS change FROM old CROSS JOIN LATERAL unnest(old.words)
        UNION ALL
        SELECT lexeme, 1 FROM replaced CROSS JOIN LATERAL unnest(replaced.words)
    ) AS changes
    GROUP BY lexeme HAVING sum(change) <> 0
)
INSERT INTO chunk_words (store_id, word, chunks)
SELECT $1, lexeme, change FROM change
ORDER BY lexeme
ON CONFLICT (store_id, word) DO UPDATE SET chunks = chunk_words.chunks + excluded.chunks;

-- name: set_word_rules
UPDATE chunk_files SET word_rules = $4 WHERE store_id = $1 AND file_id = $2 AND job = $3;

-- name: page
SELECT chunk, start, cuts, text FROM chunks
WHERE store_id = $1 AND file_id = $2 AND job = $3 AND chunk > $4
ORDER BY chunk
LIMIT $5;

-- name: insert_vectors
INSERT INTO vectors (store_id, file_id, job, first_chunk, last_chunk, number, model_id, embedding)
SELECT $1, $2, $3, first_chunk, last_chunk, number, $4, embedding::vector
FROM unnest($5::integer[], $6::integer[], $7::integer[], $8::text[]) AS new (first_chunk, last_chunk, number, embedding);

-- name: claim_file
INSERT INTO chunk_files (store_id, file_id, job) VALUES ($1, $2, $3);

-- name: complete_chunks (the file has no further chunks)
UPDATE chunk_files SET chunks = $4, word_rules = $5 WHERE store_id = $1 AND file_id = $2 AND job = $3;

-- name: finish_file
UPDATE chunk_files SET chunks = $4, windows = $5, words_counted = true
WHERE store_id = $1 AND file_id = $2 AND job = $3;

-- name: has_all_chunks
SELECT chunks > 0 FROM chunk_files WHERE store_id = $1 AND file_id = $2 AND job = $3;

-- name: move_chunks (to the job $4)
UPDATE chunks SET job = $4
WHERE store_id = $1 AND file_id = $2 AND job = $3 AND chunk IN (
    SELECT chunk FROM chunks WHERE store_id = $1 AND file_id = $2 AND job = $3 ORDER BY chunk LIMIT $5
);

-- name: move_vectors (of the model $6, to the job $4)
UPDATE vectors SET job = $4
WHERE store_id = $1 AND file_id = $2 AND job = $3
  AND model_id = (SELECT model_id FROM embedding_models WHERE name = $6)
  AND number IN (
      SELECT number FROM vectors
      WHERE store_id = $1 AND file_id = $2 AND job = $3
        AND model_id = (SELECT model_id FROM embedding_models WHERE name = $6)
      ORDER BY number LIMIT $5
  );

-- name: move_file (the counts of the job $3, to the job $4)
UPDATE chunk_files AS new SET chunks = old.chunks, word_rules = old.word_rules
FROM chunk_files AS old
WHERE old.store_id = $1 AND old.file_id = $2 AND old.job = $3
  AND new.store_id = $1 AND new.file_id = $2 AND new.job = $4;

-- name: next_window (the number of windows that are embedded: they are written in the order of their numbers)
SELECT coalesce(max(number) + 1, 0) FROM vectors WHERE store_id = $1 AND file_id = $2 AND job = $3 AND model_id = $4;

-- name: text_bytes (of a file: its chunks overlap, and cover it)
SELECT coalesce(sum(octet_length(left(text, coalesce(next - start, length(text))))), 0)::bigint
FROM (
    SELECT text, start, lead(start) OVER (ORDER BY chunk) AS next FROM chunks
    WHERE store_id = $1 AND file_id = $2 AND job = $3
) AS parts;

-- name: model_of_store (FOR SHARE: the store keeps this model until the transaction ends)
SELECT embedding_model FROM vector_stores WHERE store_id = $1 FOR SHARE;

-- name: uncount_file
UPDATE chunk_files SET words_counted = false
WHERE store_id = $1 AND file_id = $2 AND job = $3 AND words_counted
RETURNING true;

-- name: count_words (in the order of the words, so that two of these statements never deadlock)
INSERT INTO chunk_words (store_id, word, chunks)
SELECT $1, lexeme, $4::integer * count(*)
FROM chunks CROSS JOIN LATERAL unnest(words)
WHERE store_id = $1 AND file_id = $2 AND job = $3
GROUP BY lexeme
ORDER BY lexeme
ON CONFLICT (store_id, word) DO UPDATE SET chunks = chunk_words.chunks + excluded.chunks;

-- name: dead_jobs_of_store (jobs of these files, or of all files, whose chunks are not live)
SELECT c.file_id, c.job FROM chunk_files c
LEFT JOIN vector_store_files f ON f.store_id = c.store_id AND f.file_id = c.file_id AND f.job = c.job
    AND f.status IN ('completed', 'in_progress')
WHERE c.store_id = $1 AND ($2::text[] IS NULL OR c.file_id = ANY ($2)) AND f.job IS NULL
ORDER BY c.file_id, c.job
LIMIT $3;

-- name: attempts (all jobs that have written rows for a file, except for one)
SELECT file_id, job FROM chunk_files
WHERE store_id = $1 AND file_id = $2 AND job IS DISTINCT FROM $4
ORDER BY job
LIMIT $3;

-- name: delete_chunks
DELETE FROM chunks
WHERE (store_id, file_id, job, chunk) IN (
    SELECT store_id, file_id, job, chunk FROM chunks WHERE store_id = $1 AND file_id = $2 AND job = $3 LIMIT $4
);

-- name: delete_vectors
DELETE FROM vectors
WHERE (store_id, file_id, job, first_chunk, number, model_id) IN (
    SELECT store_id, file_id, job, first_chunk, number, model_id FROM vectors
    WHERE store_id = $1 AND file_id = $2 AND job = $3 AND ($4::smallint IS NULL OR model_id <> $4)
    LIMIT $5
);

-- name: delete_file
DELETE FROM chunk_files WHERE store_id = $1 AND file_id = $2 AND job = $3;

-- name: delete_words (of a store that no longer has chunks)
DELETE FROM chunk_words
WHERE store_id = $1 AND NOT EXISTS (SELECT FROM chunk_files WHERE store_id = $1);

-- name: dead_jobs (of all stores: a declared fan-out, of the sweep)
SELECT c.store_id, c.file_id, c.job FROM chunk_files c
LEFT JOIN vector_store_files f ON f.store_id = c.store_id AND f.file_id = c.file_id AND f.job = c.job
    AND f.status IN ('completed', 'in_progress')
WHERE f.job IS NULL
LIMIT $1;

-- name: chunk_texts
SELECT c.text FROM chunks c
JOIN vector_store_files f ON f.store_id = c.store_id AND f.file_id = c.file_id AND f.job = c.job
WHERE c.store_id = $1 AND c.file_id = $2 AND f.status = 'completed' AND c.chunk > $3
ORDER BY c.chunk
LIMIT $4;

-- name: model
SELECT model_id, dimensions FROM embedding_models WHERE name = $1;

-- name: lock_models
SELECT pg_advisory_xact_lock($1);

-- name: insert_model
INSERT INTO embedding_models (name, dimensions) VALUES ($1, $2) RETURNING model_id;

-- name: create_vector_table (of a model, whose table replaces `vectors_0`)
CREATE TABLE vectors_0 PARTITION OF vectors FOR VALUES IN (0);

-- name: create_vector_index (of a model, whose table and type replace `vectors_0` and `vector(384)`. With m = 16 a search
-- among 200,000 vectors missed a tenth of the nearest: some searches never reached the right region)
CREATE INDEX ON vectors_0 USING hnsw ((embedding::vector(384)) vector_cosine_ops) WITH (m = 24, ef_construction = 200);

-- name: stores_of_other_models (a declared fan-out, of moving all stores to another model)
SELECT store_id, project_id, embedding_model FROM vector_stores
WHERE NOT deleted AND store_id > $1 AND (embedding_model <> $2 OR EXISTS (
    SELECT FROM chunk_files c WHERE c.store_id = vector_stores.store_id AND c.words_counted AND NOT EXISTS (
        SELECT FROM vectors v JOIN embedding_models m USING (model_id)
        WHERE v.store_id = c.store_id AND v.file_id = c.file_id AND v.job = c.job AND m.name = $2
    )
))
ORDER BY store_id
LIMIT $3;

-- name: files_of_store (only indexed files)
SELECT file_id, job, chunks FROM chunk_files
WHERE store_id = $1 AND words_counted AND (file_id, job) > ($2, $3::bigint)
ORDER BY file_id, job
LIMIT $4;

-- name: chunks_of_store
SELECT coalesce(sum(chunks), 0)::bigint FROM chunk_files WHERE store_id = $1 AND words_counted;

-- name: is_embedded (whether the vector of the last chunk exists; it is written last)
SELECT EXISTS (
    SELECT FROM vectors
    WHERE store_id = $1 AND file_id = $2 AND job = $3 AND model_id = $4 AND last_chunk = $5 - 1
);

-- name: delete_unfinished (the vectors of a model that has not embedded the whole file)
DELETE FROM vectors WHERE store_id = $1 AND file_id = $2 AND job = $3 AND model_id = $4;

-- name: lock_chunk_file
SELECT true FROM chunk_files WHERE store_id = $1 AND file_id = $2 AND job = $3 FOR SHARE;
