-- name: ping
SELECT 1;

-- name: max_connections
SELECT setting::integer FROM pg_settings WHERE name = 'max_connections';
