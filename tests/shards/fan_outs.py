"""The statements that name no stream, no project and no other shard key: the declared fan-outs, by the reason of each.

Each of them asks all servers. None is in the way of an append or of a request of the Assistants API.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

FAN_OUTS: Mapping[str, Sequence[str]] = {
    "A supervisor scans the runs that are active now, whose table is small.": (
        "active_runs.find_overdue",
        "active_runs.find_held",
        "active_runs.find_unowned",
        "active_runs.next_expiry",
        "peers.holders",
        "vector_store_files.find_waiting",
        "vector_store_files.find_overdue",
        "vector_store_files.find_held",
    ),
    "Couriers go by the endpoint, whose deliveries come from many streams.": (
        "webhooks.find_idle",
        "webhooks.find_due",
        "webhooks.find_overloaded",
        "webhooks.drop_missed",
        "webhooks.drop_deliveries",
        "webhooks.retry",
        "webhooks.waiting",
    ),
    "The sequencer orders the appends of all streams: it is one process, and the log is one.": (
        "sequencer.pending",
        "sequencer.oldest",
        "sequencer.waiting_count",
    ),
    "The log is read in the order of its indexes, over all streams.": (
        "audit_feed.page",
        "audit_feed.page_newest",
        "exports.page",
        "exports.created_files",
        "log_tree.entries",
        "log_tree.event_at",
        "replay.deleted_by_commands",
        "replay.candidates_thread_asc",
        "replay.candidates_thread_desc",
    ),
    "A sweep looks for what is overdue or left over, every minute or seldom.": (
        "chunks.dead_jobs",
        "files.unowned_blobs",
        "idempotency.expire_keys",
        "idempotency.expire_effects",
        "live_deltas.delete_dead",
        "uploads.find_overdue",
        "uploads.find_leftover_files",
        "vector_store_files.find_orphans",
        "vector_stores.find_overdue",
    ),
    "Upkeep works through all vector stores.": (
        "chunks.files_with_older_words",
        "chunks.stores_of_other_models",
        "vector_stores.count_by_other_model",
    ),
    "Metrics, and reports of operators over all projects.": (
        "active_runs.count_active",
        "run_outcomes.active",
        "run_outcomes.report",
        "run_outcomes.failures",
        "usage.report",
        "vector_stores.count_files_in_progress",
        "webhooks.count_pending",
    ),
    "A restore of the database makes all reports again.": ("run_listing.forget", "run_outcomes.forget", "usage.forget"),
    "The key has no stream: a request with an Idempotency-Key has failed.": ("idempotency.has_effect",),
    "Encryption begins, or its keys are rotated.": (
        "encryption.has_streams",
        "encryption.older_keys",
        "encryption.plain_streams",
        "encryption.state",
        "stream_keys.needed_keys",
    ),
    "A command works through all streams.": (
        "rebuild.streams",
        "replay.thread_of_run",
        "replay_check.page",
        "replay_check.totals",
        "run_listing.find",
        "run_listing.page",
        "run_listing.pending",
        "verify.blobs",
        "verify.changed_clients",
        "verify.epoch_events",
        "verify.events_without_head",
        "verify.part_events",
        "verify.pending_without_head",
        "verify.ranges_without_head",
        "verify.rows_without_stream",
        "verify.streams",
        "verify.totals",
        "view_rebuilds.totals",
    ),
}
