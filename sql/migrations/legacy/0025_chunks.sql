-- What indexing makes of files: chunks, their words and their vectors. None of it is in the log: the files' bytes make
-- it again. Every table leads with the store, and every row says under which job it was made (vector_store_files.job).
CREATE EXTENSION IF NOT EXISTS vector;

-- `start` in characters of the file's text; `cuts` where the chunk's windows begin, in characters of the chunk. Among
-- its words is the store's id, so that the index intersects a store with a word and never visits other stores' rows.
CREATE TABLE chunks (
    store_id text      NOT NULL,
    file_id  text      NOT NULL,
    job      bigint    NOT NULL,
    chunk    integer   NOT NULL,
    start    integer   NOT NULL,
    page     integer,
    tokens   integer   NOT NULL,
    cuts     integer[] NOT NULL,
    text     text      NOT NULL,
    words    tsvector  GENERATED ALWAYS AS
        (array_to_tsvector(ARRAY [store_id]) || to_tsvector('english'::regconfig, text)) STORED,
    PRIMARY KEY (store_id, file_id, job, chunk)
);
-- Without a list of pending rows, which every search would have to read through.
CREATE INDEX chunks_words ON chunks USING gin (words) WITH (fastupdate = off);

-- One row a file that has chunks. `words_counted`: its words are in chunk_words.
CREATE TABLE chunk_files (
    store_id      text    NOT NULL,
    file_id       text    NOT NULL,
    job           bigint  NOT NULL,
    chunks        integer NOT NULL DEFAULT 0,
    windows       integer NOT NULL DEFAULT 0,
    words_counted boolean NOT NULL DEFAULT false,
    PRIMARY KEY (store_id, file_id, job)
);

-- In how many of a store's chunks a word is, so that rare words count for more and are looked up first.
CREATE TABLE chunk_words (
    store_id text   NOT NULL,
    word     text   NOT NULL,
    chunks   bigint NOT NULL,
    PRIMARY KEY (store_id, word)
) WITH (fillfactor = 80);

CREATE TABLE embedding_models (
    model_id   smallint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    name       text     NOT NULL UNIQUE,
    dimensions integer  NOT NULL
);

-- One vector a window, for every chunk that it is a part of (neighbours share windows). Each model has a partition of
-- its own, made with the model's first vector, with an index of its own.
CREATE TABLE vectors (
    store_id    text     NOT NULL,
    file_id     text     NOT NULL,
    job         bigint   NOT NULL,
    number      integer  NOT NULL,
    first_chunk integer  NOT NULL,
    last_chunk  integer  NOT NULL,
    model_id    smallint NOT NULL,
    embedding   vector   NOT NULL,
    PRIMARY KEY (store_id, file_id, job, first_chunk, number, model_id)
) PARTITION BY LIST (model_id);
