-- Each row knows all pairs of its object, by the first 16 bytes of theirs, in order: a filter of several pairs passes over
-- objects that lack one without looking them up. While older software still runs beside newer, new rows that it writes hold
-- none and old ones what was before: filters of several pairs are right about those objects once they are changed or rebuilt.
ALTER TABLE metadata_pairs ADD COLUMN together uuid[] NOT NULL DEFAULT '{}';

UPDATE metadata_pairs SET together = found.together
FROM (
    SELECT stream_id, array_agg(short ORDER BY short) AS together
    FROM (SELECT stream_id, encode(substring(pair FOR 16), 'hex')::uuid AS short FROM metadata_pairs) AS each
    GROUP BY stream_id
) AS found
WHERE found.stream_id = metadata_pairs.stream_id;

DROP INDEX metadata_pairs_in_order;
CREATE INDEX metadata_pairs_in_order ON metadata_pairs (project_id, kind, pair, created_at, stream_id)
    INCLUDE (together);
