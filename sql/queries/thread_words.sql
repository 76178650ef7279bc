-- name: begin (a crash of PostgreSQL empties the table)
INSERT INTO thread_word_progress (id, epoch, next_index, rules) VALUES (1, 0, 0, $1) ON CONFLICT DO NOTHING;

-- name: lock (the progress; no row if another process works on it)
SELECT epoch, next_index, rules, (SELECT max(epoch) FROM log_epochs) AS current_epoch
FROM thread_word_progress
FOR UPDATE SKIP LOCKED;

-- name: forget (a declared fan-out, after a restore of the database, or with other rules of words)
DELETE FROM thread_words;

-- name: move
UPDATE thread_word_progress SET epoch = $1, next_index = $2, rules = $3;

-- name: remove_threads
DELETE FROM thread_words WHERE thread_id = ANY ($1::text[]);

-- name: remove_messages
DELETE FROM thread_words USING unnest($1::text[], $2::text[]) AS gone (thread_id, message_id)
WHERE thread_words.thread_id = gone.thread_id AND thread_words.message_id = gone.message_id;

-- name: add (to threads that exist. The project is a word too, so that the index reads one project's messages only)
INSERT INTO thread_words (thread_id, message_id, part, project_id, created_at, words)
SELECT given.thread_id, message_id, part, project_id, created_at,
    array_to_tsvector(ARRAY ['project ' || project_id]) || strip(to_tsvector(language::regconfig, spaced))
        || strip(pairs::tsvector)
FROM unnest($1::text[], $2::text[], $3::integer[], $4::text[], $5::text[], $6::text[])
    AS given (thread_id, message_id, part, language, spaced, pairs)
JOIN threads ON threads.thread_id = given.thread_id
ON CONFLICT (thread_id, message_id, part) DO UPDATE SET words = excluded.words;

-- name: stems (of a text, as tsqueries of all its words: one for each of the languages $2 that gives another)
SELECT DISTINCT plainto_tsquery(name::regconfig, $1)::text AS query FROM unnest($2::text[]) AS name;

-- name: found_asc
-- Threads with a message that has the words $10, all pairs of $7, a run of the assistant $8, and a last run of status $9.
-- sealed: threads(thread_id): body, patches
SELECT found.thread_id, body, patches, has_own_store, attached
FROM (
    SELECT DISTINCT created_at, thread_id FROM thread_words
    WHERE words @@ $10::tsquery AND project_id = $1 AND (created_at, thread_id) > ($2, $3) AND (created_at, thread_id) < ($4, $5)
) AS found
JOIN threads_with_attachments AS t ON t.thread_id = found.thread_id
WHERE t.project_id = $1
  AND (SELECT count(*) FROM metadata_pairs WHERE stream_id = found.thread_id AND pair = ANY ($7::bytea[]))
      = cardinality($7)
  AND ($8::text IS NULL
      OR EXISTS (SELECT FROM run_outcomes AS r WHERE r.thread_id = found.thread_id AND r.assistant_id = $8)
      OR EXISTS (SELECT FROM imported_runs AS r WHERE r.thread_id = found.thread_id AND r.assistant_id = $8))
  AND ($9::text IS NULL OR $9 = (
      SELECT coalesce(
          (SELECT status FROM active_runs AS a WHERE a.thread_id = r.thread_id AND a.run_id = r.run_id),
          (SELECT status FROM run_outcomes AS o WHERE o.thread_id = r.thread_id AND o.run_id = r.run_id),
          (SELECT status FROM imported_runs AS i WHERE i.thread_id = r.thread_id AND i.run_id = r.run_id))
      FROM runs AS r WHERE r.thread_id = found.thread_id ORDER BY r.position DESC LIMIT 1))
ORDER BY found.created_at, found.thread_id
LIMIT $6;

-- name: page_asc
-- sealed: threads(thread_id): body, patches
SELECT found.thread_id, body, patches, has_own_store, attached
FROM threads_with_attachments AS found
WHERE project_id = $1 AND (created_at, thread_id) > ($2, $3) AND (created_at, thread_id) < ($4, $5)
  AND (SELECT count(*) FROM metadata_pairs WHERE stream_id = found.thread_id AND pair = ANY ($7::bytea[]))
      = cardinality($7)
  AND ($8::text IS NULL
      OR EXISTS (SELECT FROM run_outcomes AS r WHERE r.thread_id = found.thread_id AND r.assistant_id = $8)
      OR EXISTS (SELECT FROM imported_runs AS r WHERE r.thread_id = found.thread_id AND r.assistant_id = $8))
  AND ($9::text IS NULL OR $9 = (
      SELECT coalesce(
          (SELECT status FROM active_runs AS a WHERE a.thread_id = r.thread_id AND a.run_id = r.run_id),
          (SELECT status FROM run_outcomes AS o WHERE o.thread_id = r.thread_id AND o.run_id = r.run_id),
          (SELECT status FROM imported_runs AS i WHERE i.thread_id = r.thread_id AND i.run_id = r.run_id))
      FROM runs AS r WHERE r.thread_id = found.thread_id ORDER BY r.position DESC LIMIT 1))
ORDER BY found.created_at, found.thread_id
LIMIT $6;

-- name: found_desc
-- sealed: threads(thread_id): body, patches
SELECT found.thread_id, body, patches, has_own_store, attached
FROM (
    SELECT DISTINCT created_at, thread_id FROM thread_words
    WHERE words @@ $10::tsquery AND project_id = $1 AND (created_at, thread_id) > ($2, $3) AND (created_at, thread_id) < ($4, $5)
) AS found
JOIN threads_with_attachments AS t ON t.thread_id = found.thread_id
WHERE t.project_id = $1
  AND (SELECT count(*) FROM metadata_pairs WHERE stream_id = found.thread_id AND pair = ANY ($7::bytea[]))
      = cardinality($7)
  AND ($8::text IS NULL
      OR EXISTS (SELECT FROM run_outcomes AS r WHERE r.thread_id = found.thread_id AND r.assistant_id = $8)
      OR EXISTS (SELECT FROM imported_runs AS r WHERE r.thread_id = found.thread_id AND r.assistant_id = $8))
  AND ($9::text IS NULL OR $9 = (
      SELECT coalesce(
          (SELECT status FROM active_runs AS a WHERE a.thread_id = r.thread_id AND a.run_id = r.run_id),
          (SELECT status FROM run_outcomes AS o WHERE o.thread_id = r.thread_id AND o.run_id = r.run_id),
          (SELECT status FROM imported_runs AS i WHERE i.thread_id = r.thread_id AND i.run_id = r.run_id))
      FROM runs AS r WHERE r.thread_id = found.thread_id ORDER BY r.position DESC LIMIT 1))
ORDER BY found.created_at DESC, found.thread_id DESC
LIMIT $6;

-- name: page_desc
-- sealed: threads(thread_id): body, patches
SELECT found.thread_id, body, patches, has_own_store, attached
FROM threads_with_attachments AS found
WHERE project_id = $1 AND (created_at, thread_id) > ($2, $3) AND (created_at, thread_id) < ($4, $5)
  AND (SELECT count(*) FROM metadata_pairs WHERE stream_id = found.thread_id AND pair = ANY ($7::bytea[]))
      = cardinality($7)
  AND ($8::text IS NULL
      OR EXISTS (SELECT FROM run_outcomes AS r WHERE r.thread_id = found.thread_id AND r.assistant_id = $8)
      OR EXISTS (SELECT FROM imported_runs AS r WHERE r.thread_id = found.thread_id AND r.assistant_id = $8))
  AND ($9::text IS NULL OR $9 = (
      SELECT coalesce(
          (SELECT status FROM active_runs AS a WHERE a.thread_id = r.thread_id AND a.run_id = r.run_id),
          (SELECT status FROM run_outcomes AS o WHERE o.thread_id = r.thread_id AND o.run_id = r.run_id),
          (SELECT status FROM imported_runs AS i WHERE i.thread_id = r.thread_id AND i.run_id = r.run_id))
      FROM runs AS r WHERE r.thread_id = found.thread_id ORDER BY r.position DESC LIMIT 1))
ORDER BY found.created_at DESC, found.thread_id DESC
LIMIT $6;
