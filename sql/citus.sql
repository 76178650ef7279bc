-- Distributes the tables over the nodes of a Citus cluster, with the functions that Citus 14 documents. It was NOT run here:
-- Citus is in no package that this project installs. What runs instead is tests/shards/: it reads this file, asserts Citus'
-- rules over the catalog and all statements by it, and routes the streams to three plain Postgres servers by it.
-- docs/scaling.md says what is known, and what is not.
--
-- Run it as the owner of the tables, in a migrated database on the coordinator, before the first server is started:
--     psql -v ON_ERROR_STOP=1 -f sql/citus.sql

BEGIN;

-- A stream, with all rows that follow from its events, is on one node: an append is a statement of one shard.
SELECT create_distributed_table('streams', 'stream_id');
SELECT create_distributed_table('events', 'stream_id', colocate_with => 'streams');
SELECT create_distributed_table('log_pending', 'stream_id', colocate_with => 'streams');
SELECT create_distributed_table('stream_keys', 'stream_id', colocate_with => 'streams');
SELECT create_distributed_table('idempotency_effects', 'stream_id', colocate_with => 'streams');
SELECT create_distributed_table('erasures', 'stream_id', colocate_with => 'streams');
SELECT create_distributed_table('attached_code_files', 'file_id', colocate_with => 'streams');
SELECT create_distributed_table('metadata_pairs', 'stream_id', colocate_with => 'streams');
SELECT create_distributed_table('webhook_deliveries', 'stream_id', colocate_with => 'streams');
SELECT create_distributed_table('assistants', 'assistant_id', colocate_with => 'streams');
SELECT create_distributed_table('threads', 'thread_id', colocate_with => 'streams');
SELECT create_distributed_table('thread_attachments', 'thread_id', colocate_with => 'streams');
SELECT create_distributed_table('messages', 'thread_id', colocate_with => 'streams');
SELECT create_distributed_table('runs', 'thread_id', colocate_with => 'streams');
SELECT create_distributed_table('active_runs', 'thread_id', colocate_with => 'streams');
SELECT create_distributed_table('steps', 'thread_id', colocate_with => 'streams');
SELECT create_distributed_table('live_deltas', 'thread_id', colocate_with => 'streams');
SELECT create_distributed_table('thread_words', 'thread_id', colocate_with => 'streams');
SELECT create_distributed_table('usage_runs', 'thread_id', colocate_with => 'streams');
SELECT create_distributed_table('usage_calls', 'thread_id', colocate_with => 'streams');
SELECT create_distributed_table('run_outcomes', 'thread_id', colocate_with => 'streams');
SELECT create_distributed_table('imported_runs', 'thread_id', colocate_with => 'streams');
SELECT create_distributed_table('uploads', 'upload_id', colocate_with => 'streams');
SELECT create_distributed_table('upload_parts', 'upload_id', colocate_with => 'streams');
SELECT create_distributed_table('vector_stores', 'store_id', colocate_with => 'streams');
SELECT create_distributed_table('vector_store_files', 'store_id', colocate_with => 'streams');
SELECT create_distributed_table('vector_store_batches', 'store_id', colocate_with => 'streams');
SELECT create_distributed_table('chunks', 'store_id', colocate_with => 'streams');
SELECT create_distributed_table('chunk_files', 'store_id', colocate_with => 'streams');
SELECT create_distributed_table('chunk_words', 'store_id', colocate_with => 'streams');
SELECT create_distributed_table('vectors', 'store_id', colocate_with => 'streams');

-- A use of an Idempotency-Key belongs to a request, not to a stream.
SELECT create_distributed_table('idempotency_keys', 'token', colocate_with => 'none');

-- Small tables that statements of every shard join, or that requests read by another column than the stream. A copy of each
-- is on every node; their rows change seldom.
-- Every request finds its key by its hash.
SELECT create_reference_table('api_keys');
SELECT create_reference_table('projects');
-- Every append joins the endpoints of its project.
SELECT create_reference_table('webhook_endpoints');
-- The files of a vector store are shown as long as the File objects exist, which are streams of other shards.
SELECT create_reference_table('files');
SELECT create_reference_table('embedding_models');
SELECT create_reference_table('encryption_epochs');

-- Tables of the installation, on the coordinator only. No append reads or writes them.
-- The log has gapless indexes over all streams, and one sequencer writes them: two unique keys share no column.
SELECT citus_add_local_table_to_metadata('log_ranges');
SELECT citus_add_local_table_to_metadata('log_tiles');
SELECT citus_add_local_table_to_metadata('log_epochs');
SELECT citus_add_local_table_to_metadata('log_checkpoints');
SELECT citus_add_local_table_to_metadata('log_latest');
SELECT citus_add_local_table_to_metadata('log_attestations');
SELECT citus_add_local_table_to_metadata('log_attesters');
-- Written in batches, deleted after some days, and joined by the audit feed only, which begins at log_ranges.
SELECT citus_add_local_table_to_metadata('request_clients');
-- The work of couriers: a row for each webhook endpoint.
SELECT citus_add_local_table_to_metadata('webhook_work');
-- Written for many keys at once, a few times a minute.
SELECT citus_add_local_table_to_metadata('key_uses');
-- One row, or a few.
SELECT citus_add_local_table_to_metadata('blob_store');
SELECT citus_add_local_table_to_metadata('signing_keys');
SELECT citus_add_local_table_to_metadata('usage_progress');
SELECT citus_add_local_table_to_metadata('erasure_progress');
SELECT citus_add_local_table_to_metadata('retention_policies');
SELECT citus_add_local_table_to_metadata('legal_holds');
SELECT citus_add_local_table_to_metadata('retention_progress');
SELECT citus_add_local_table_to_metadata('run_outcome_progress');
SELECT citus_add_local_table_to_metadata('imported_run_progress');
SELECT citus_add_local_table_to_metadata('thread_word_progress');
SELECT citus_add_local_table_to_metadata('view_generations');
SELECT citus_add_local_table_to_metadata('view_rebuilds');
SELECT citus_add_local_table_to_metadata('pending_rebuilds');
SELECT citus_add_local_table_to_metadata('migrations');

COMMIT;
