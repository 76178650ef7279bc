"""The command `everthread reindex`."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from service.cli.keys import DataDirOption, open_writer, run, say

StoreOption = Annotated[list[str] | None, typer.Option("--store", help="Only this store; may be repeated")]


def reindex(store: StoreOption = None, data_dir: DataDirOption = None) -> None:
    """Move vector stores to the embedding model of the settings.

    Servers may keep running. If the command is interrupted, run it again: it continues with the remaining files.
    """

    async def work() -> None:
        from service.cli import reindexing
        from service.embedded.data_dir import default_data_dir
        from service.sandbox.probe import SandboxProbe
        from service.search.factory import open_search_engine
        from service.settings import Settings

        settings = Settings.load(data_dir=data_dir)
        key = settings.embedding_api_key
        folder = (settings.data_dir or default_data_dir()).expanduser()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        async with open_writer(data_dir) as writer:
            engine = open_search_engine(
                writer.pool,
                SandboxProbe(settings.sandbox_dir, packages=settings.code_package_set),
                folder / "reindex.log",
                now=writer.clock.now,
                base_url=settings.embedding_base_url,
                model=settings.embedding_model,
                api_key=key.get_secret_value() if key else None,
            )
            try:
                old_stores = [old async for old in reindexing.old_stores(writer, engine.indexer.embedding_model)]
                old_stores = [old for old in old_stores if not store or old.id in store]
                with _progress_bar() as progress:
                    for old in old_stores:
                        task = progress.add_task(old.id, total=await reindexing.count_chunks(writer, old))
                        await reindexing.move_store(writer, engine, old, partial(progress.advance, task))
            finally:
                await engine.close()
        say(f"{len(old_stores)} stores moved to {engine.indexer.embedding_model}.")

    run(work())


def _progress_bar() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("chunks"))
    return Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True))
