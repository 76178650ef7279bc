-- The marker of the blob store that belongs to this database (service/files/blob_marker.py). `is_placed` is false until
-- the marker is known to be in the blob store.
CREATE TABLE blob_store (
    is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
    marker text NOT NULL,
    is_placed boolean NOT NULL DEFAULT false
);
