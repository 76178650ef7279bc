-- The course of each run, for reports of latency and failures. The servers follow the log and add rows; no append writes
-- them, and they stay when a thread is deleted. They have no text. `model` is the name that the client asked for.
-- `cause` is the code of an error or the reason of an incomplete answer. A run that is active has no `ended_at`.
CREATE TABLE run_outcomes (
    thread_id    text        NOT NULL,
    run_id       text        NOT NULL,
    project_id   text        NOT NULL,
    key_id       text,
    assistant_id text        NOT NULL,
    model        text        NOT NULL,
    created_at   timestamptz NOT NULL,
    started_at   timestamptz,
    ended_at     timestamptz,
    status       text,
    cause        text,
    PRIMARY KEY (thread_id, run_id)
);
CREATE INDEX run_outcomes_of_projects ON run_outcomes (project_id, ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX run_outcomes_by_time ON run_outcomes (ended_at) WHERE ended_at IS NOT NULL;

-- The index of the log up to which the rows are complete, as in usage_progress.
CREATE TABLE run_outcome_progress (
    id         smallint PRIMARY KEY,
    epoch      integer  NOT NULL,
    next_index bigint   NOT NULL
);
INSERT INTO run_outcome_progress (id, epoch, next_index) VALUES (1, 0, 0);
