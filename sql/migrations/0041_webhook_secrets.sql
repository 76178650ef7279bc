-- A secret that was replaced stays good until then: messages are signed with both.
ALTER TABLE webhook_work ADD COLUMN previous_secret text, ADD COLUMN previous_until timestamptz;
