-- The words of a chunk depend on its language and are computed by the program (service/search/words.py). Chunks keep the
-- words that they have until upkeep renews them; `word_rules` is the version of the rules that made a file's words. A
-- server of the release before leaves `words` empty in new chunks and `word_rules` at 1, so upkeep renews these too.
ALTER TABLE chunks ALTER COLUMN words DROP EXPRESSION;
ALTER TABLE chunk_files ADD COLUMN word_rules smallint NOT NULL DEFAULT 1;
