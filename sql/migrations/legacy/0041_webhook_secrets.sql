-- Secrets that were replaced, the last one first, each good until its moment: messages are signed with all of them.
ALTER TABLE webhook_work ADD COLUMN replaced_secrets text[] NOT NULL DEFAULT '{}',
    ADD COLUMN replaced_until timestamptz[] NOT NULL DEFAULT '{}';
