-- The id of the file that an upload makes: an attempt to complete that broke off may leave one, after the upload's end.
ALTER TABLE uploads ADD COLUMN makes text;
CREATE INDEX uploads_unfinished ON uploads (makes) WHERE status IN ('cancelled', 'expired');
