"""`everthread replay --record FILE`: writes runs to a file that `everthread replay --check` reads."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from service.cli import logs
from service.cli.keys import run, say
from service.errors import CommandError
from service.settings import Settings


def record(runs: Sequence[str], path: Path, *, has_texts: bool, sees_deleted: bool, data_dir: Path | None) -> None:
    """Writes the runs to a new file. Raises CommandError if it exists, or if a run is missing or too large."""
    if not runs:
        raise CommandError("Name the runs to record: everthread replay --record FILE run_….")

    async def work() -> None:
        from events.errors import NotFound, Rejection
        from service.cli import admin
        from service.database import open_pool
        from service.replay.recorded_events import NotReadable
        from service.replay.run_reader import thread_of_run
        from service.replay.run_recorder import load_run, record_lines

        settings = Settings.load(data_dir=data_dir)
        logs.configure("warning")
        histories: dict[str, list[bytes]] = {}
        async with admin.open_database(settings) as url:
            pool = await open_pool(url)
            try:
                for run_id in runs:
                    if sees_deleted:
                        await admin.record_deleted_read(pool, await thread_of_run(pool, run_id), "replay --record")
                    events = await load_run(pool, run_id, sees_deleted=sees_deleted)
                    lines = list(record_lines(events, has_texts=has_texts))
                    # Runs of one thread are one history: the longest one.
                    thread_id = events[0].recorded.stream_id
                    histories[thread_id] = max(histories.get(thread_id, []), lines, key=len)
            except (NotFound, Rejection) as error:
                raise CommandError(error.message) from None
            except NotReadable as error:
                raise CommandError(f"Event {error.version} of {error.stream_id} cannot be read: {error}") from None
            finally:
                pool.terminate()
        _write(path, [line for lines in histories.values() for line in lines])
        count = sum(map(len, histories.values()))
        say(f"{count:,} events of {len(histories):,} threads written to {path}. Read it before you share it.")

    run(work())


def _write(path: Path, lines: Sequence[bytes]) -> None:
    try:
        with open(path, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.writelines(lines)
    except FileExistsError:
        raise CommandError(f"{path} exists already.") from None
    except OSError as error:
        raise CommandError(f"Cannot write {path}: {error.strerror or error}") from None
