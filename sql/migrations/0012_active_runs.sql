-- The runs that have not ended, by which supervisors find those that need a process. `runs` keeps only columns that no
-- index uses or that never change, so that its updates write no index. A run that waits behind another run of its
-- thread has no `expires_at` yet. `process` is the process that works on it.
CREATE TABLE active_runs (
    thread_id  text    NOT NULL,
    run_id     text    NOT NULL,
    project_id text    NOT NULL,
    position   bigint  NOT NULL,
    status     text    NOT NULL,
    expires_at bigint,
    process    integer,
    PRIMARY KEY (thread_id, run_id)
) WITH (fillfactor = 70);
CREATE INDEX active_runs_expiring ON active_runs (expires_at);
CREATE INDEX active_runs_at_work ON active_runs (process) WHERE status <> 'requires_action';

INSERT INTO active_runs (thread_id, run_id, project_id, position, status, expires_at, process)
SELECT thread_id, run_id, project_id, position, status, expires_at, process FROM runs
WHERE status IN ('queued', 'in_progress', 'requires_action', 'cancelling');

ALTER TABLE runs
    DROP COLUMN status,
    DROP COLUMN expires_at,
    DROP COLUMN process;

-- Room on a row's page for its updates: outputs of a step's tool calls, and the answer to a request with an
-- Idempotency-Key.
ALTER TABLE steps SET (fillfactor = 85);
ALTER TABLE idempotency_keys SET (fillfactor = 70);
