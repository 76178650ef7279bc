-- Secrets of webhooks, and errors, which name hosts, are bytes, so that they can be encrypted (docs/encryption.md).
ALTER TABLE webhook_work
    ALTER COLUMN secret TYPE bytea USING convert_to(secret, 'UTF8'),
    ALTER COLUMN last_error TYPE bytea USING convert_to(last_error, 'UTF8');

-- A change of an array's type may hold no subquery.
ALTER TABLE webhook_work ADD COLUMN sealed_secrets bytea[] NOT NULL DEFAULT '{}';
UPDATE webhook_work SET sealed_secrets = ARRAY(
    SELECT convert_to(replaced, 'UTF8')
    FROM unnest(replaced_secrets) WITH ORDINALITY AS old (replaced, place)
    ORDER BY place
) WHERE replaced_secrets <> '{}';
ALTER TABLE webhook_work DROP COLUMN replaced_secrets;
ALTER TABLE webhook_work RENAME COLUMN sealed_secrets TO replaced_secrets;

-- The headers of stored answers, instead of `headers`, if the installation is encrypted.
ALTER TABLE idempotency_keys ADD COLUMN sealed_headers bytea;
