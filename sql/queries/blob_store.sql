-- name: add
INSERT INTO blob_store (marker) VALUES ($1) ON CONFLICT DO NOTHING;

-- name: lock
SELECT marker, is_placed FROM blob_store FOR UPDATE;

-- name: get
SELECT marker FROM blob_store WHERE is_placed;

-- name: set_placed
UPDATE blob_store SET is_placed = true;
