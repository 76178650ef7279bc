-- `everthread runs list` finds the newest runs by these indexes, and `everthread replay` the thread of a run.
CREATE INDEX run_outcomes_newest ON run_outcomes (status, created_at, run_id);
CREATE INDEX run_outcomes_newest_of_projects ON run_outcomes (project_id, status, created_at, run_id);
CREATE INDEX run_outcomes_newest_of_assistants ON run_outcomes (assistant_id, status, created_at, run_id);
CREATE INDEX run_outcomes_of_runs ON run_outcomes (run_id);

-- The runs that were imported or copied by a fork, which no report counts. The servers follow the log and add rows.
CREATE TABLE imported_runs (
    thread_id    text        NOT NULL,
    run_id       text        NOT NULL,
    project_id   text        NOT NULL,
    assistant_id text        NOT NULL,
    status       text        NOT NULL,
    created_at   timestamptz NOT NULL,
    PRIMARY KEY (thread_id, run_id)
);
CREATE INDEX imported_runs_newest ON imported_runs (status, created_at, run_id);
CREATE INDEX imported_runs_newest_of_projects ON imported_runs (project_id, status, created_at, run_id);
CREATE INDEX imported_runs_newest_of_assistants ON imported_runs (assistant_id, status, created_at, run_id);
CREATE INDEX imported_runs_of_runs ON imported_runs (run_id);

-- The index of the log up to which the rows are complete, as in usage_progress.
CREATE TABLE imported_run_progress (
    id         smallint PRIMARY KEY,
    epoch      integer  NOT NULL,
    next_index bigint   NOT NULL
);
INSERT INTO imported_run_progress (id, epoch, next_index) VALUES (1, 0, 0);
