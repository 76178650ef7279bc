-- Applied after the thirteen legacy migrations, because two of them were edited after they had landed. Every statement
-- does nothing in a database that has no such gap. After it, the schema is that of 0001_baseline.sql.

-- Early versions of 0001_foundation.sql lacked these indexes.
CREATE INDEX IF NOT EXISTS messages_of_runs ON messages (thread_id, run_id, position) WHERE run_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS runs_at_work ON runs (process) WHERE status IN ('queued', 'in_progress', 'cancelling');
CREATE INDEX IF NOT EXISTS steps_of_runs ON steps (thread_id, run_id, position);

-- The first version of 0041_webhook_secrets.sql kept one replaced secret, in two other columns.
ALTER TABLE webhook_work ADD COLUMN IF NOT EXISTS replaced_secrets text[] NOT NULL DEFAULT '{}',
    ADD COLUMN IF NOT EXISTS replaced_until timestamptz[] NOT NULL DEFAULT '{}';
DO $$
BEGIN
    IF EXISTS (
        SELECT FROM pg_attribute
        WHERE attrelid = 'webhook_work'::regclass AND attname = 'previous_secret' AND NOT attisdropped
    ) THEN
        UPDATE webhook_work SET replaced_secrets = ARRAY [previous_secret], replaced_until = ARRAY [previous_until]
        WHERE previous_secret IS NOT NULL AND previous_until IS NOT NULL;
        ALTER TABLE webhook_work DROP COLUMN previous_secret, DROP COLUMN previous_until;
    END IF;
END
$$;
