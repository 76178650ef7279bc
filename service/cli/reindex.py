"""The command `everthread reindex`."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from service.cli.keys import DataDirOption, opened_writer, run, say

OnlyOption = Annotated[list[str] | None, typer.Option("--store", help="Only this store; may be given several times")]


def reindex(store: OnlyOption = None, data_dir: DataDirOption = None) -> None:
    """Move vector stores to the embedding model of the settings. Servers may go on; asked again it goes on itself."""

    async def work() -> None:
        from service.cli import reindexing as moving
        from service.embedded.data_dir import default_data_dir
        from service.sandbox.probe import Confinement
        from service.search.factory import open_vectors
        from service.settings import Settings

        settings = Settings.load(data_dir=data_dir)
        key = settings.embedding_api_key
        folder = (settings.data_dir or default_data_dir()).expanduser()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        async with opened_writer(data_dir) as writer:
            vectors = open_vectors(
                writer.pool,
                Confinement(settings.sandbox_dir),
                folder / "reindex.log",
                base_url=settings.embedding_base_url,
                model=settings.embedding_model,
                api_key=key.get_secret_value() if key else None,
            )
            try:
                found = [one async for one in moving.old_stores(writer, vectors.indexer.model)]
                found = [one for one in found if not store or one.id in store]
                with _bar() as progress:
                    for one in found:
                        task = progress.add_task(one.id, total=await moving.size(writer, one))
                        await moving.move(writer, vectors, one, partial(progress.advance, task))
            finally:
                await vectors.close()
        say(f"{len(found)} stores moved to {vectors.indexer.model}.")

    run(work())


def _bar() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("chunks"))
    return Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True))
