-- In the blocks that name a vector type, `vector(384)` stands for the model's type and `FROM vectors` for its table. The
-- query's vector is in a SELECT of its own, so that a generic plan parses its text once and not once for each row.

-- name: settings (for this transaction only: they bound the scan of the vector index and make the planner use it)
SELECT set_config('hnsw.ef_search', $1, true), set_config('hnsw.iterative_scan', 'relaxed_order', true),
    set_config('hnsw.max_scan_tuples', $2, true), set_config('jit', 'off', true),
    set_config('enable_sort', 'off', true), set_config('enable_seqscan', 'off', true),
    set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true);

-- name: words (the rarest words of a query, with the number of chunks that have them, and how many of its words no chunk
-- has; of the pairs it counts half, since about that many lie across the border of two words. $2 is the part of the query with spaces, $3 the pairs of characters of the rest, $4 the words that name
-- languages. A word with spaces is stemmed in each language of the stores; a position of the tsvectors names the same
-- word in all of them. English is always among the languages, for chunks whose words are older than these rules)
WITH language AS (
    SELECT substr(word, 10) AS name FROM chunk_words
    WHERE store_id = ANY ($1) AND word = ANY ($4::text[]) AND chunks > 0
    UNION
    SELECT 'english'
), term AS (
    SELECT lexemes, bool_or(is_stop_word) AS is_stop_word, false AS is_pair FROM (
        SELECT array_agg(DISTINCT lexeme ORDER BY lexeme) AS lexemes,
            count(DISTINCT name) < (SELECT count(*) FROM language) AS is_stop_word
        FROM language
        CROSS JOIN LATERAL unnest(to_tsvector(language.name::regconfig, $2)) AS stem (lexeme, positions, weights)
        CROSS JOIN LATERAL unnest(stem.positions) AS position
        GROUP BY position
    ) AS stems
    GROUP BY lexemes
    UNION ALL
    SELECT ARRAY [pair], false, true FROM unnest($3::text[]) AS pair
), counted AS (
    SELECT lexemes, is_stop_word, is_pair, coalesce((
        SELECT sum(chunks) FROM chunk_words WHERE store_id = ANY ($1) AND word = ANY (lexemes)
    ), 0)::bigint AS chunks
    FROM term
)
SELECT total.chunks AS store_chunks, total.unknown, known.lexemes, known.chunks
FROM (
    SELECT coalesce((SELECT sum(chunks) FROM chunk_words WHERE store_id = ANY ($1) AND word = ANY ($1)), 0)::bigint
        AS chunks, count(*) FILTER (WHERE NOT is_pair) + count(*) FILTER (WHERE is_pair) / 2 AS unknown
    FROM counted WHERE chunks = 0 AND NOT is_stop_word
) AS total
LEFT JOIN (
    SELECT lexemes, chunks FROM counted WHERE chunks > 0 ORDER BY chunks, lexemes LIMIT $5
) AS known ON true
ORDER BY known.chunks, known.lexemes;

-- name: matching_windows (windows of the files that match the filter; at most $3 files are counted)
SELECT coalesce(sum(windows), 0)::bigint AS windows, count(*) AS files
FROM (
    SELECT c.windows FROM vector_store_files f
    JOIN chunk_files c ON c.store_id = f.store_id AND c.file_id = f.file_id AND c.job = f.job
    WHERE f.store_id = ANY ($1) AND f.status = 'completed' AND f.attributes @@ $2::jsonpath
    LIMIT $3
) AS matching;

-- name: exact (compares every vector of the files that match, file by file; OFFSET 0 keeps the planner to that order)
SELECT v.store_id, v.file_id, v.job, v.first_chunk, v.last_chunk, 1 - v.distance AS similarity
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

-- name: nearest (the index returns vector after vector, until enough have matched)
SELECT v.store_id, v.file_id, v.job, v.first_chunk, v.last_chunk,
    1 - (v.embedding::vector(384) <=> (SELECT $1::text::vector(384))) AS similarity
FROM vectors v
JOIN vector_store_files f ON f.store_id = v.store_id AND f.file_id = v.file_id AND f.job = v.job
WHERE v.store_id = ANY ($2) AND f.status = 'completed' AND ($3::jsonpath IS NULL OR f.attributes @@ $3::jsonpath)
ORDER BY v.embedding::vector(384) <=> (SELECT $1::text::vector(384))
LIMIT $4;

-- name: with_words (chunks that have some of the words, those with the greatest weight first. The words name the stores
-- too, but a text could contain a store's id. The first OFFSET 0 keeps Postgres to the index of words; the second makes
-- it look up the files singly, and only until enough have passed the filter)
SELECT c.store_id, c.file_id, c.job, c.chunk
FROM (
    SELECT match.store_id, match.file_id, match.job, match.chunk, sum(word.weight) AS weight
    FROM unnest($1::text[], $2::float8[]) AS word (query, weight)
    CROSS JOIN LATERAL (
        SELECT store_id, file_id, job, chunk FROM (
            SELECT store_id, file_id, job, chunk FROM chunks WHERE words @@ word.query::tsquery OFFSET 0
        ) AS with_word
        WHERE store_id = ANY ($6)
        LIMIT $3
    ) AS match
    GROUP BY match.store_id, match.file_id, match.job, match.chunk
    ORDER BY weight DESC, match.store_id, match.file_id, match.chunk
) AS c
CROSS JOIN LATERAL (
    SELECT FROM vector_store_files f
    WHERE f.store_id = c.store_id AND f.file_id = c.file_id AND f.job = c.job
      AND f.status = 'completed' AND ($4::jsonpath IS NULL OR f.attributes @@ $4::jsonpath)
    OFFSET 0
) AS f
ORDER BY c.weight DESC, c.store_id, c.file_id, c.chunk
LIMIT $5;

-- name: measure (both measures of each candidate; a known similarity is kept. A word's rank goes from 0.61 for one
-- occurrence to 1 for many. setweight has no effect on the ranks; with OFFSET 0 it makes Postgres unpack a chunk's words
-- once and not once for each word. The stems of a word have the same number, and the best of them counts)
SELECT c.store_id, c.file_id, c.job, c.chunk,
    coalesce(k.similarity, (
        SELECT 1 - min(v.embedding::vector(384) <=> (SELECT $1::text::vector(384))) FROM vectors v
        WHERE v.store_id = c.store_id AND v.file_id = c.file_id AND v.job = c.job
          AND v.first_chunk BETWEEN c.chunk - 1 AND c.chunk AND v.last_chunk >= c.chunk
    )) AS similarity,
    measured.share AS word_share
FROM unnest($4::text[], $5::text[], $6::bigint[], $7::integer[], $8::float8[])
    AS k (store_id, file_id, job, chunk, similarity)
JOIN chunks c ON c.store_id = k.store_id AND c.file_id = k.file_id AND c.job = k.job AND c.chunk = k.chunk
    AND c.store_id = ANY ($10)
CROSS JOIN LATERAL (SELECT setweight(c.words, 'D') AS words OFFSET 0) AS unpacked
CROSS JOIN LATERAL (
    SELECT coalesce(sum(word.share), 0)::float8 AS share FROM (
        SELECT max(stem.weight * ts_rank('{1,1,1,1}', unpacked.words, stem.query::tsquery)) AS share
        FROM unnest($2::text[], $3::float8[], $9::integer[]) AS stem (query, weight, word)
        GROUP BY stem.word
    ) AS word
) AS measured;

-- name: hits (the texts and names of the chunks that a search found, if the chunks and their Files still exist)
SELECT c.store_id, c.file_id, c.chunk, c.page, c.text, f.filename, f.attributes::text AS attributes
FROM unnest($1::text[], $2::text[], $3::bigint[], $4::integer[]) AS k (store_id, file_id, job, chunk)
JOIN chunks c ON c.store_id = k.store_id AND c.file_id = k.file_id AND c.job = k.job AND c.chunk = k.chunk
JOIN vector_store_files f ON f.store_id = c.store_id AND f.file_id = c.file_id AND f.job = c.job
    AND f.status = 'completed'
WHERE c.store_id = ANY ($6) AND NOT EXISTS (
    SELECT FROM files WHERE files.file_id = c.file_id AND (files.blob IS NULL OR files.expires_at <= $5)
);
