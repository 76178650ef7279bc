"""The command `everthread migrate`."""

from __future__ import annotations

from typing import Annotated

import typer

from service.cli import logs
from service.cli.keys import DataDirOption, open_writer, run, say
from service.settings import Settings

RoleOption = Annotated[str | None, typer.Option(help="Role of the servers, if it does not own the tables")]


def migrate(service_role: RoleOption = None, data_dir: DataDirOption = None) -> None:
    """Create or upgrade the tables of the database, as their owner.

    EVERTHREAD_DATABASE_URL names the database and the owner. With --service-role, that role gets the rights that
    servers need, and no others. `everthread serve` migrates by itself if its role owns the tables.
    """

    async def work() -> None:
        from service.migrations import prepare_database

        settings = Settings.load(data_dir=data_dir)
        logs.configure(settings.log_level)
        if settings.database_url is not None:
            await prepare_database(settings.database_url.get_secret_value(), service_role=service_role)
        else:
            async with open_writer(data_dir):  # as for every command, the embedded database is migrated
                pass
        say("The database is up to date.")

    run(work())
