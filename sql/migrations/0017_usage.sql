-- The tokens of model calls, for reports of usage and costs. The servers follow the log and add rows; no append writes
-- them, and they stay when a thread is deleted. They have no text.

-- `model` is the name that the client asked for. `key_id` is null if no API key created the run.
CREATE TABLE usage_runs (
    thread_id    text NOT NULL,
    run_id       text NOT NULL,
    project_id   text NOT NULL,
    key_id       text,
    assistant_id text NOT NULL,
    model        text NOT NULL,
    PRIMARY KEY (thread_id, run_id)
);

-- `version` is that of the event that ended the call, `at` its time.
CREATE TABLE usage_calls (
    thread_id        text        NOT NULL,
    version          bigint      NOT NULL,
    run_id           text        NOT NULL,
    project_id       text        NOT NULL,
    key_id           text,
    assistant_id     text        NOT NULL,
    model            text        NOT NULL,
    at               timestamptz NOT NULL,
    input_tokens     bigint      NOT NULL,
    cached_tokens    bigint      NOT NULL,
    output_tokens    bigint      NOT NULL,
    PRIMARY KEY (thread_id, version)
);
CREATE INDEX usage_calls_of_projects ON usage_calls (project_id, at);
CREATE INDEX usage_calls_by_time ON usage_calls (at);

-- The index of the log up to which the rows are complete. Another epoch means that the log was restored: all rows are
-- made again.
CREATE TABLE usage_progress (
    id         smallint PRIMARY KEY,
    epoch      integer  NOT NULL,
    next_index bigint   NOT NULL
);
INSERT INTO usage_progress (id, epoch, next_index) VALUES (1, 0, 0);
