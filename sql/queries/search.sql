-- Of the blocks that name a vector's type: `vector(384)` stands for the model's own type, `FROM vectors` for its table.
-- The query's vector stands in a SELECT of its own, so that a plan for any vector reads its text once, not once a row.

-- name: settings (of this transaction alone: how far the index of vectors is read, and that it is what is read)
SELECT set_config('hnsw.ef_search', $1, true), set_config('hnsw.iterative_scan', 'relaxed_order', true),
    set_config('hnsw.max_scan_tuples', $2, true), set_config('jit', 'off', true),
    set_config('enable_sort', 'off', true), set_config('enable_seqscan', 'off', true),
    set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true);

-- name: words (which of the text's words the stores know, and in how many chunks: the rarest; the stores' ids are words
-- too, and come first)
SELECT word, sum(chunks)::bigint AS chunks, word = ANY ($1::text[]) AS is_store,
    length(to_tsvector('english', $2)) AS asked
FROM chunk_words
WHERE store_id = ANY ($1) AND word = ANY (
    tsvector_to_array(to_tsvector('english', $2)) || $1::text[]
)
GROUP BY word
HAVING sum(chunks) > 0
ORDER BY word = ANY ($1::text[]) DESC, sum(chunks), word
LIMIT $3;

-- name: matching_windows (of files that match, as far as is worth counting)
SELECT coalesce(sum(windows), 0)::bigint AS windows, count(*) AS files
FROM (
    SELECT c.windows FROM vector_store_files f
    JOIN chunk_files c ON c.store_id = f.store_id AND c.file_id = f.file_id AND c.job = f.job
    WHERE f.store_id = ANY ($1) AND f.status = 'completed' AND f.attributes @@ $2::jsonpath
    LIMIT $3
) AS found;

-- name: exact (every vector of the files that match, file by file: OFFSET 0 keeps it so)
SELECT v.store_id, v.file_id, v.job, v.first_chunk, v.last_chunk, 1 - v.distance AS likeness
FROM vector_store_files f
CROSS JOIN LATERAL (
    SELECT v.store_id, v.file_id, v.job, v.first_chunk, v.last_chunk,
        v.embedding::vector(384) <=> (SELECT $1::text::vector(384)) AS distance
    FROM vectors v
    WHERE v.store_id = f.store_id AND v.file_id = f.file_id AND v.job = f.job
    OFFSET 0
) AS v
WHERE f.store_id = ANY ($2) AND f.status = 'completed' AND ($3::jsonpath IS NULL OR f.attributes @@ $3::jsonpath)
ORDER BY v.distance
LIMIT $4;

-- name: nearest (the index gives one vector after the other, until enough have matched)
SELECT v.store_id, v.file_id, v.job, v.first_chunk, v.last_chunk,
    1 - (v.embedding::vector(384) <=> (SELECT $1::text::vector(384))) AS likeness
FROM vectors v
JOIN vector_store_files f ON f.store_id = v.store_id AND f.file_id = v.file_id AND f.job = v.job
WHERE v.store_id = ANY ($2) AND f.status = 'completed' AND ($3::jsonpath IS NULL OR f.attributes @@ $3::jsonpath)
ORDER BY v.embedding::vector(384) <=> (SELECT $1::text::vector(384))
LIMIT $4;

-- name: with_words (chunks that hold some of the words, the weightiest first; files are looked up one by one, with
-- OFFSET 0, only until enough have passed)
SELECT c.store_id, c.file_id, c.job, c.chunk
FROM (
    SELECT found.store_id, found.file_id, found.job, found.chunk, sum(asked.weight) AS weight
    FROM unnest($1::text[], $2::float8[]) AS asked (query, weight)
    CROSS JOIN LATERAL (
        SELECT store_id, file_id, job, chunk FROM chunks WHERE words @@ asked.query::tsquery LIMIT $3
    ) AS found
    GROUP BY found.store_id, found.file_id, found.job, found.chunk
    ORDER BY weight DESC, found.store_id, found.file_id, found.chunk
) AS c
CROSS JOIN LATERAL (
    SELECT FROM vector_store_files f
    WHERE f.store_id = c.store_id AND f.file_id = c.file_id AND f.job = c.job
      AND f.status = 'completed' AND ($4::jsonpath IS NULL OR f.attributes @@ $4::jsonpath)
    OFFSET 0
) AS f
ORDER BY c.weight DESC, c.store_id, c.file_id, c.chunk
LIMIT $5;

-- name: judge (both measures of each candidate, where they are not known; a word's rank goes from 0.61 for one
-- occurrence to 1 for many. Setting all words' weights, which count for nothing, and OFFSET 0 have them unpacked once,
-- not once a word)
SELECT c.store_id, c.file_id, c.job, c.chunk,
    coalesce(k.likeness, (
        SELECT 1 - min(v.embedding::vector(384) <=> (SELECT $1::text::vector(384))) FROM vectors v
        WHERE v.store_id = c.store_id AND v.file_id = c.file_id AND v.job = c.job
          AND v.first_chunk BETWEEN c.chunk - 1 AND c.chunk AND v.last_chunk >= c.chunk
    )) AS likeness,
    found.share
FROM unnest($4::text[], $5::text[], $6::bigint[], $7::integer[], $8::float8[])
    AS k (store_id, file_id, job, chunk, likeness)
JOIN chunks c ON c.store_id = k.store_id AND c.file_id = k.file_id AND c.job = k.job AND c.chunk = k.chunk
CROSS JOIN LATERAL (SELECT setweight(c.words, 'D') AS words OFFSET 0) AS unpacked
CROSS JOIN LATERAL (
    SELECT coalesce(sum(asked.weight * ts_rank('{1,1,1,1}', unpacked.words, asked.query::tsquery)), 0)::float8 AS share
    FROM unnest($2::text[], $3::float8[]) AS asked (query, weight)
) AS found;

-- name: shown (the chunks that are found, with what is shown of them, as far as they and their Files are still there)
SELECT c.store_id, c.file_id, c.chunk, c.page, c.text, f.filename, f.attributes::text AS attributes
FROM unnest($1::text[], $2::text[], $3::bigint[], $4::integer[]) AS k (store_id, file_id, job, chunk)
JOIN chunks c ON c.store_id = k.store_id AND c.file_id = k.file_id AND c.job = k.job AND c.chunk = k.chunk
JOIN vector_store_files f ON f.store_id = c.store_id AND f.file_id = c.file_id AND f.job = c.job
    AND f.status = 'completed'
WHERE NOT EXISTS (
    SELECT FROM files WHERE files.file_id = c.file_id AND (files.blob IS NULL OR files.expires_at <= $5)
);
