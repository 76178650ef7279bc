-- name: claim (the newest kept checkpoint of epoch $1 for the attester $2 at the time $3, unless the attester has attested
-- it or a process asks it already; nobody else asks it until $4)
WITH newest AS (SELECT size, note FROM log_checkpoints WHERE epoch = $1 ORDER BY size DESC LIMIT 1)
INSERT INTO log_attesters AS known (epoch, attester, next_at, waiting_since)
SELECT $1, $2, $4, $3 FROM newest
WHERE NOT EXISTS (
    SELECT FROM log_attestations AS found
    WHERE found.epoch = $1 AND found.size = newest.size AND found.attester = $2
)
ON CONFLICT (epoch, attester) DO UPDATE SET next_at = $4, waiting_since = COALESCE(known.waiting_since, $3)
WHERE known.next_at <= $3
RETURNING known.size AS known_size, known.failures, (SELECT size FROM newest) AS size, (SELECT note FROM newest) AS note;

-- name: add (the attestation of the checkpoint of epoch $1 with size $2; the attester is asked again at $7, unless the
-- claim until $8 has ended)
WITH added AS (
    INSERT INTO log_attestations (epoch, size, attester, kind, at, data) VALUES ($1, $2, $3, $4, $5, $6)
    ON CONFLICT DO NOTHING
)
UPDATE log_attesters
SET size = $2, next_at = $7, waiting_since = NULL, failures = 0, problem = NULL, is_serious = false
WHERE epoch = $1 AND attester = $3 AND next_at = $8;

-- name: put_off (until $3, after a failure with the problem $4, unless the claim until $6 has ended)
UPDATE log_attesters
SET next_at = $3, failures = failures + 1, problem = $4, is_serious = $5
WHERE epoch = $1 AND attester = $2 AND next_at = $6;

-- name: states (of the attesters $2 in epoch $1)
SELECT attester, size, waiting_since, failures, problem, is_serious FROM log_attesters
WHERE epoch = $1 AND attester = ANY ($2);

-- name: cosigned (of the newest $3 kept checkpoints of epoch $1 with $2 events or more, those since $4, if given, with cosignatures;
-- first the ones with the most cosignatures, of these the newest)
SELECT kept.size, kept.note, array_agg(found.data ORDER BY found.attester) AS lines
FROM (
    SELECT epoch, size, at, note FROM log_checkpoints WHERE epoch = $1 AND size >= $2 ORDER BY size DESC LIMIT $3
) AS kept
JOIN log_attestations AS found ON found.epoch = kept.epoch AND found.size = kept.size AND found.kind = 'witness'
WHERE $4::timestamptz IS NULL OR kept.at >= $4
GROUP BY kept.size, kept.note
ORDER BY count(*) DESC, kept.size DESC
LIMIT 1;

-- name: cosignatures (of the checkpoint of epoch $1 with size $2)
SELECT data FROM log_attestations
WHERE epoch = $1 AND size = $2 AND kind = 'witness' ORDER BY attester;
