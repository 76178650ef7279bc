-- The runs that ended without a whole answer, which are few among all: the report of failures reads the newest of them.
-- The statuses are those of its queries (`sql/queries/run_outcomes.sql`).
CREATE INDEX run_failures_of_projects ON run_outcomes (project_id, ended_at)
WHERE status IN ('failed', 'incomplete', 'expired');
CREATE INDEX run_failures_by_time ON run_outcomes (ended_at)
WHERE status IN ('failed', 'incomplete', 'expired');
