-- The words of the messages of threads, by which GET /v1/threads?query= finds threads. A message has a row for each part of
-- its text. The servers follow the log and add rows; no append writes them. The words are plain, also in an encrypted
-- installation, so both tables are unlogged: no copy of the files of the database has them, nor has a replica. A crash of
-- PostgreSQL empties both, and then the servers make the rows again from the first event on.
CREATE UNLOGGED TABLE thread_words (
    thread_id  text        NOT NULL,
    message_id text        NOT NULL,
    part       integer     NOT NULL,
    project_id text        NOT NULL,
    created_at timestamptz NOT NULL,
    words      tsvector    NOT NULL,
    PRIMARY KEY (thread_id, message_id, part)
);
CREATE INDEX thread_words_of_texts ON thread_words USING gin (words);

-- The index of the log up to which the rows are complete, and the version of the rules that gave the words.
CREATE UNLOGGED TABLE thread_word_progress (
    id         smallint PRIMARY KEY,
    epoch      integer  NOT NULL,
    next_index bigint   NOT NULL,
    rules      integer  NOT NULL
);
