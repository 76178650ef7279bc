-- Of each epoch of the key-encryption keys: the times from which the log has the event that it began, and from which its
-- key is destroyed (docs/encryption.md, "Epochs").
ALTER TABLE encryption_epochs ADD COLUMN announced_at timestamptz;
ALTER TABLE encryption_epochs ADD COLUMN destroyed_at timestamptz;
